"""Objects cross by their parts, and come back as classes that the receiver knows: never by a name that came."""

from array import array
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import pytest
import torch

import builders_classes as a
import builders_ends
import builders_pg as build
from checkpointheal import register_class
from checkpointheal.errors import ClassDiffers, Misuse, PeerRefused, SchemaDiffers, UnknownClass, UnsupportedLeaf
from checkpointheal.manifest import describe, rebuild

OBJECTS: dict[str, Callable[[float], Any]] = {
    "an enum": lambda x: a.Colour.RED if x else a.Colour.BLUE,
    "an enum of numbers": lambda x: a.Level.LOW if x else a.Level.HIGH,
    "an enum of words": lambda _: a.Word.YES,
    "flags": lambda x: a.Rights.READ | a.Rights.WRITE if x else a.Rights.READ,
    "a named tuple": lambda x: a.Pair(torch.full((3,), x), {"deep": a.Pair(x, None)}),
    "a subclass of OrderedDict": lambda x: a.Ordered(z=torch.full((3,), x), a=x),
    "a subclass of list": lambda x: a.Row([torch.full((3,), x), x]),
    "a mapping that is no dict": lambda x: a.Held({"w": torch.full((3,), x), "n": x}),
    "an enum as a key": lambda x: {a.Colour.RED: torch.full((2,), x), a.Level.LOW: x},
}


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, a.Held) and isinstance(theirs, a.Held):
        return build.same(ours.data, theirs.data)
    return build.same(ours, theirs)


@pytest.mark.parametrize("make", OBJECTS.values(), ids=OBJECTS)
def test_a_class_comes_from_the_targets_template(make: Any) -> None:
    received = build.cross({"it": make(1.0)}, {"it": make(0.0)})
    assert same(received["it"], make(1.0))


@pytest.mark.parametrize("make", OBJECTS.values(), ids=OBJECTS)
def test_a_class_comes_from_the_registry(make: Any) -> None:
    with a.registered(a.Colour, a.Level, a.Word, a.Rights, a.Pair, a.Ordered, a.Row, a.Held):
        assert same(build.cross({"it": make(1.0)})["it"], make(1.0))


@pytest.mark.parametrize("make", OBJECTS.values(), ids=OBJECTS)
def test_without_template_or_registry_a_class_is_refused_by_name_with_the_remedy(make: Any) -> None:
    giving, taking = builders_ends.gloo_groups()
    recording = build.Recording(giving)
    gave, took = builders_ends.side_by_side(
        lambda: build.a_transport(recording).send_checkpoint([1], {"it": [make(1.0)]}),
        lambda: build.a_transport(taking).recv_checkpoint(0),
    )
    assert isinstance(took, UnknownClass)
    assert took.path.startswith("it.0")
    assert "is a builders_classes." in str(took)
    assert "call checkpointheal.register_class(" in str(took)
    assert isinstance(gave, PeerRefused)
    assert gave.refusal == "UnknownClass"
    assert len(recording.sent) == 2, "the offer, and nothing else"


def test_a_class_of_another_name_than_the_templates_is_refused() -> None:
    with pytest.raises(SchemaDiffers, match=r"it: container is a builders_classes\.Pair, here a builders_classes\.Row"):
        build.cross({"it": a.Pair(1, 2)}, {"it": a.Row([1, 2])})


BUILT_IN = {
    "a default dict": defaultdict(list, {"a": [1], 2: torch.ones(2)}),
    "a default dict without a default": defaultdict(None, a=1),
    "a bounded queue": deque([torch.ones(2), 1], maxlen=3),
    "a queue": deque(),
    "a layout and a memory format": [torch.strided, torch.channels_last],
}


@pytest.mark.parametrize("it", BUILT_IN.values(), ids=BUILT_IN)
def test_pythons_own_containers_need_no_registering(it: Any) -> None:
    received = build.cross({"it": it})["it"]
    assert type(received) is type(it)
    assert getattr(received, "default_factory", None) is getattr(it, "default_factory", None)
    assert getattr(received, "maxlen", None) == getattr(it, "maxlen", None)
    plain = dict if isinstance(it, dict) else list
    assert build.same(plain(received), plain(it))


def parts_of(schedule: a.Schedule) -> dict[str, Any]:
    return {"step": schedule.step, "weight": schedule.weight}


CODEC: dict[str, Any] = {"take_apart": parts_of, "put_together": lambda parts: a.Schedule(**parts)}


def test_an_object_crosses_by_a_codec_of_the_users_and_its_tensors_as_tensors() -> None:
    weight = torch.arange(1 << 20)
    with a.registered(a.Schedule, **CODEC):
        giving, taking = builders_ends.gloo_groups()
        recording = build.Recording(giving)
        _, received = builders_ends.side_by_side(
            lambda: build.a_transport(recording).send_checkpoint([1], {"it": a.Schedule(4, weight), "tied": weight}),
            lambda: build.a_transport(taking).recv_checkpoint(0),
        )
    assert (type(received["it"]), received["it"].step) == (a.Schedule, 4)
    assert torch.equal(received["it"].weight, weight)
    assert received["it"].weight.data_ptr() == received["tied"].data_ptr()
    assert sum(recording.sent[2:]) == weight.nbytes


def test_an_object_is_filled_in_place_by_its_codec() -> None:
    live = torch.zeros(3)
    with a.registered(a.Schedule, **CODEC):
        received = build.cross({"it": a.Schedule(4, torch.ones(3))}, {"it": a.Schedule(0, live)})
    assert received["it"].step == 4
    assert received["it"].weight is live
    assert torch.equal(live, torch.ones(3))


def test_a_dataclass_crosses_once_it_is_registered() -> None:
    with pytest.raises(UnsupportedLeaf, match=r"it is a Plan, which cannot cross: .* checkpointheal\.register_class"):
        describe({"it": a.Plan(0.1, torch.ones(2))})
    with a.registered(a.Plan):
        received = build.cross({"it": a.Plan(0.1, torch.ones(2))})["it"]
    assert (type(received), received.rate, received.weight.tolist()) == (a.Plan, 0.1, [1.0, 1.0])


def a_fixed(weight: torch.Tensor) -> a.Fixed:
    made = a.Fixed(0.1)
    object.__setattr__(made, "weight", weight)
    return made


def test_fields_that_a_dataclass_s_constructor_does_not_take_cross_too() -> None:
    plan = a.Plan(0.1, torch.ones(2))
    plan.seen = 7
    with a.registered(a.Plan, a.Fixed):
        received = build.cross({"plan": plan, "fixed": a_fixed(torch.ones(2))})
        filled = build.cross({"it": a_fixed(torch.ones(2))}, {"it": a_fixed(live := torch.zeros(2))})["it"]
    assert received["plan"].seen == 7
    assert (received["fixed"].rate, received["fixed"].weight.tolist()) == (0.1, [1.0, 1.0])
    assert not hasattr(received["fixed"], "later"), "nobody has set it"
    assert filled.weight is live
    assert live.tolist() == [1.0, 1.0]


def test_a_field_that_a_dataclass_does_not_have_is_refused() -> None:
    with a.registered(a.Pair, name="plan"):
        schema = describe({"it": a.Pair(1, 2)}).schema
    with (
        a.registered(a.Plan, name="plan"),
        pytest.raises(ClassDiffers, match=r"it is a plan, which cannot be made here of what was offered .*'left'"),
    ):
        rebuild(schema, [{"i": "1"}, {"i": "2"}], b"")


def test_a_set_crosses_by_a_codec() -> None:
    with a.registered(set, take_apart=sorted, put_together=set):
        assert build.cross({"it": {3, 1}})["it"] == {1, 3}


def test_a_class_may_cross_by_a_name_of_its_own() -> None:
    with a.registered(a.Pair, name="pair"):
        assert describe({"it": a.Pair(1, 2)}).schema.tree["d"][0][1]["c"][0] == "pair"
        assert build.cross({"it": a.Pair(1, 2)})["it"] == a.Pair(1, 2)


def test_registering_again_replaces() -> None:
    with a.registered(a.Pair, name="pair"):
        register_class(a.Pair, name="twin")
        register_class(a.Row, name="pair")
        assert build.cross({"it": [a.Pair(1, 2), a.Row([3])]})["it"] == [a.Pair(1, 2), a.Row([3])]


def test_registering_decorates() -> None:
    with a.registered():

        @register_class
        class Point(list):  # type: ignore[type-arg]
            pass

        assert type(build.cross({"it": Point([1])})["it"]) is Point


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "half a codec": (a.Schedule, {"take_apart": parts_of}, "half a codec: pass both"),
    "an object without a codec": (a.Schedule, {}, "does not say what it is made of: pass take_apart="),
    "a tensor class without a codec": (a.Opaque, {}, "does not say what it is made of"),
    "a container that cannot be made of its parts alone": (array, {}, "does not say what it is made of"),
    "what crosses as it is": (dict, {}, "needs no registering"),
    "a plain value's class": (torch.Size, {}, "needs no registering"),
    "a name that is taken": (a.Row, {"name": "deque"}, r"the name 'deque' is collections\.deque's"),
    "a name without end": (a.Row, {"name": "x" * 257}, "a name of 257 characters"),
}


def test_a_container_that_could_not_be_read_again_is_refused_before_it_is_written() -> None:
    with pytest.raises(UnsupportedLeaf, match="it is a array"):
        describe({"it": array("d", [1.0])})


@pytest.mark.parametrize(("kind", "options", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_registered_is_refused_with_the_remedy(kind: Any, options: Any, sentence: str) -> None:
    with a.registered(), pytest.raises(Misuse, match=sentence):
        register_class(kind, **options)


def test_a_codec_that_fails_names_the_leaf_on_the_side_where_it_fails() -> None:
    with a.registered(a.Schedule, take_apart=lambda each: each.nothing, put_together=dict):
        giving, taking = builders_ends.gloo_groups()
        gave, took = builders_ends.side_by_side(
            lambda: build.a_transport(giving).send_checkpoint([1], {"it": a.Schedule(1, torch.ones(1))}),
            lambda: build.a_transport(taking).recv_checkpoint(0),
        )
    assert isinstance(gave, UnsupportedLeaf)
    assert str(gave).startswith("it is a Schedule ('Schedule' object has no attribute 'nothing')")
    assert isinstance(took, PeerRefused)
    with (
        a.registered(a.Schedule, take_apart=parts_of, put_together=lambda parts: parts["nothing"]),
        pytest.raises(ClassDiffers, match=r"it is a builders_classes\.Schedule, which cannot be made here"),
    ):
        build.cross({"it": a.Schedule(1, torch.ones(1))})


def test_two_names_that_look_alike_are_two() -> None:
    def state(x: float) -> dict[Any, Any]:
        return {1: torch.full((3,), x), "1": torch.full((4,), x), "a": {"b": x}, "a.b": -x}

    assert build.same(build.cross(state(1.0), state(0.0)), state(1.0))
