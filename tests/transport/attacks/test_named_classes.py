"""A donor may name any class and describe any object: none is imported, and what cannot be made is refused."""

import copy
import re
import sys
from typing import Any, Self

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as any_
from pydantic import ValidationError

import builders_classes as a
import builders_pg as build
from checkpointheal.contract.layout import Manifest, Schema
from checkpointheal.ends.leaves import NewState
from checkpointheal.ends.placements import Meshes
from checkpointheal.ends.target import LenientTarget, Target
from checkpointheal.errors import BadFrame, CheckpointHealError, SchemaDiffers, UnknownClass
from checkpointheal.manifest import describe, rebuild
from checkpointheal.manifest.check import check

STATE = {
    "pair": a.Pair(torch.ones(3), a.Colour.RED),
    "wrapped": a.a_wrapped(),
    a.Level.LOW: a.Held(n=1),
    "parameter": torch.nn.Parameter(torch.ones(2)),
}
DESCRIBED = describe(STATE)
RAW = DESCRIBED.schema.model_dump(mode="json")


def taken(schema: Schema, end: Any) -> Any:
    """What a recipient makes of it: checked, fitted, filled with zeros."""
    manifest = Manifest(schema=schema, values=DESCRIBED.values)
    check(schema, len(DESCRIBED.values))
    needed = end.require_fit(manifest)
    sizes = [nbytes if index in needed else 0 for index, nbytes in enumerate(schema.regions.nbytes)]
    return end.fill(manifest, [torch.zeros(size, dtype=torch.uint8) for size in sizes])


def a_new_state() -> NewState:
    return NewState(Meshes(None, "cpu"))


@pytest.mark.parametrize("name", ["turtle.Turtle", "os.system", "builtins.eval", "builders_classes.Schedule", "."])
def test_a_class_that_a_donor_names_is_never_imported_nor_called(name: str) -> None:
    raw = copy.deepcopy(RAW)
    raw["tree"]["d"][0][1]["c"][0] = name
    sys.modules.pop("turtle", None)
    schema = Schema.model_validate(raw)
    with a.registered(a.Pair, a.Colour, a.Wrapped, a.Level, a.Held):
        with pytest.raises(UnknownClass, match=re.escape(name)):
            taken(schema, a_new_state())
        with pytest.raises(SchemaDiffers, match=re.escape(name)):
            taken(schema, Target(STATE))
        assert type(taken(schema, LenientTarget(STATE))["pair"]) is a.Pair, "what fits by name, in its own classes"
    assert "turtle" not in sys.modules


PLACE = {"offsets": [0], "sizes": [4], "holder": "rank:0/cpu"}
SHARDING = {
    "global_shape": [4], "dtype": "float32", "requires_grad": False, "memory_format": "contiguous_format",
    "pinned": False, "strides": [1], "shards": [PLACE], "local": [PLACE],
}  # fmt: skip


def test_a_shard_that_is_a_value_is_refused_before_a_byte_crosses() -> None:
    described = describe({"w": 1.5})
    schema = described.schema.model_copy(update={"tree": {"d": [["w", {"sh": [SHARDING, [{"V": 0}]]}]]}})
    with pytest.raises(BadFrame, match="w has a shard that is no tensor"):
        a_new_state().require_fit(Manifest(schema=schema, values=described.values))


class Counts(a.Wrapped):
    """As a Wrapped, but its elements are integers, which have no gradients."""

    @staticmethod
    def __new__(cls, values: torch.Tensor, scale: torch.Tensor, block: int) -> Self:
        return torch.Tensor._make_wrapper_subclass(cls, values.shape, dtype=torch.int8)


@pytest.mark.parametrize("outside", [{"requires_grad": True}, {"requires_grad": True, "parameter": True}], ids=str)
def test_a_made_tensor_that_cannot_be_as_it_is_told_is_refused(outside: dict[str, bool]) -> None:
    wrapped = Counts(torch.ones(2, dtype=torch.int8), torch.ones(1), 1)
    with a.registered(Counts, a.Colour):
        described = describe({"w": wrapped})
        raw = described.schema.model_dump(mode="json")
        raw["tree"]["d"][0][1]["x"][3] |= outside
        data = bytearray(described.schema.data_bytes)
        with pytest.raises(BadFrame, match="w cannot be made of its tensors"):
            rebuild(Schema.model_validate(raw), described.values, data)


JSON = any_.recursive(
    any_.none() | any_.booleans() | any_.integers(-2, 2**65) | any_.text(max_size=4),
    lambda inner: (
        any_.lists(inner, max_size=3) | any_.dictionaries(any_.sampled_from(["c", "x", "T", "K", "a"]), inner)
    ),
    max_leaves=6,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> Any:
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        yield from places(child, (*path, key))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(any_.sampled_from([path for path in places(RAW["tree"]) if path]), JSON, any_.integers(0, 2))
def test_any_change_of_the_objects_is_refused_by_an_error_of_ours_or_makes_a_state(
    path: Any, to: Any, which: int
) -> None:
    raw = copy.deepcopy(RAW)
    place = raw["tree"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    end = (a_new_state, lambda: Target(copied()), lambda: LenientTarget(copied()))[which]()
    with a.registered(a.Pair, a.Colour, a.Wrapped, a.Level, a.Held):
        try:
            taken(Schema.model_validate(raw), end)
        except (CheckpointHealError, ValidationError):
            return


def copied() -> Any:
    return {**STATE, "pair": a.Pair(torch.ones(3), a.Colour.RED), "wrapped": a.a_wrapped()}


def test_the_state_itself_is_taken_by_each() -> None:
    with a.registered(a.Pair, a.Colour, a.Wrapped, a.Level, a.Held):
        for end in (a_new_state(), Target(copied()), LenientTarget(copied())):
            found = taken(DESCRIBED.schema, end)
            assert build.same(found["pair"], a.Pair(torch.zeros(3), a.Colour.RED))
