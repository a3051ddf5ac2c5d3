"""What cannot be made of its parts here is found out before a byte crosses, and the live state is as it was."""

from enum import Enum
from typing import Any

import pytest
import torch

import builders_classes as a
import builders_ends
import builders_pg as build
from checkpointheal import PGTransport
from checkpointheal.contract.layout import Manifest
from checkpointheal.ends.leaves import NewState
from checkpointheal.ends.placements import Meshes
from checkpointheal.errors import ClassDiffers, Misuse, PeerRefused
from checkpointheal.manifest import Described, describe


class Phase(Enum):
    WARM = 1
    HOT = 2


class Older(Enum):
    """The same class, as a program of last week has it."""

    WARM = 1


Older.__qualname__ = Phase.__qualname__
NAME = f"{Phase.__module__}.Phase"
SENTENCE = rf"phase is a {NAME}, which cannot be made here of what was offered \('HOT'\): .* the same Phase"
WAYS: dict[str, dict[str, Any]] = {"in place": {}, "staged": {"staged": True}, "not strict": {"strict": False}}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_object_that_cannot_be_made_is_refused_before_the_target_is_touched(way: Any) -> None:
    giving, taking = builders_ends.gloo_groups()
    recording, target = build.Recording(giving), {"w": torch.ones(4), "phase": Older.WARM}
    receiver = PGTransport(taking, build.timedelta(seconds=20), build.CPU, lambda: target, **way)
    gave, took = builders_ends.side_by_side(
        lambda: build.a_transport(recording).send_checkpoint([1], {"w": torch.full((4,), 5.0), "phase": Phase.HOT}),
        lambda: receiver.recv_checkpoint(0),
    )
    with pytest.raises(ClassDiffers, match=SENTENCE):
        raise took
    assert (took.path, took.name) == ("phase", NAME)
    assert isinstance(took, Misuse), "the program is to be mended"
    assert isinstance(gave, PeerRefused)
    assert gave.refusal == "ClassDiffers"
    assert len(recording.sent) == 2, "the offer, and nothing else"
    assert target["w"].tolist() == [1.0] * 4
    assert not receiver.spoiled


def refused(described: Described) -> None:
    """What a recipient without a target says to the offer."""
    NewState(Meshes(None, "cpu")).require_fit(Manifest(schema=described.schema, values=described.values))


def test_without_a_target_it_is_refused_before_a_byte_crosses_too() -> None:
    offered = describe({"w": torch.ones(4), "phase": Phase.HOT})
    with a.registered(Older, name=NAME), pytest.raises(ClassDiffers, match=SENTENCE):
        refused(offered)


def test_without_a_target_a_named_tuple_of_other_fields_is_refused_whatever_tensors_are_in_it() -> None:
    with a.registered(a.Pair, name="pair"):
        offered = describe({"it": a.Pair(torch.ones(3), a.a_wrapped())})
    with (
        a.registered(a.Row, a.Wrapped, a.Colour),
        a.registered(a.Triple, name="pair"),
        pytest.raises(ClassDiffers, match=r"it is a pair, which .* \(.*'last'\)"),
    ):
        refused(offered)


READ: dict[str, Any] = {
    "take_apart": lambda schedule: {"step": schedule.step, "weight": schedule.weight},
    "put_together": lambda parts: a.Schedule(int(parts["weight"].sum()), parts["weight"]),
}


def test_a_codec_that_reads_a_tensor_reads_what_came() -> None:
    sent = {"it": a.Schedule(0, torch.ones(3))}
    with a.registered(a.Schedule, **READ):
        received = build.cross(sent)["it"]
        filled = build.cross(sent, {"it": a.Schedule(0, torch.zeros(3))})["it"]
    assert (received.step, filled.step) == (3, 3)


INSIDE: dict[str, Any] = {
    "a wrapped tensor": lambda: [a.a_wrapped()],
    "an object of a tensor": lambda: a.Row([a.Pair(a.Plan(0.1, torch.ones(2)), "text")]),
    "a mapping of a tensor": lambda: {"w": torch.ones(2)},
}


@pytest.mark.parametrize("make", INSIDE.values(), ids=INSIDE)
def test_without_a_target_nothing_is_made_that_would_read_a_tensor_before_it_came(make: Any) -> None:
    lengths: list[int] = []
    codec: Any = {
        "take_apart": lambda schedule: schedule.weight,
        "put_together": lambda parts: a.Schedule(lengths.append(len(parts)) or 0, parts),
    }
    with a.registered(a.Wrapped, a.Colour, a.Row, a.Pair, a.Plan), a.registered(a.Schedule, **codec):
        received = build.cross({"it": a.Schedule(0, make())})["it"]
    assert type(received.weight) is type(make())
    assert lengths == [1]
