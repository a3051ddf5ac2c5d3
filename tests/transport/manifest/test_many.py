"""Very many small tensors are told together, and are still each what they were."""

from collections import Counter, OrderedDict, deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from builders_wire import a_schema
from checkpointheal.contract.cut import LARGE, Cut
from checkpointheal.contract.layout import Schema
from checkpointheal.errors import Misuse, UnsupportedLeaf
from checkpointheal.manifest import compare, describe, rebuild, write_out
from checkpointheal.manifest.packing import clear, gather, scatter
from checkpointheal.manifest.runs import runless

ALIKE = {f"layers.{i}.weight": torch.full((4,), float(i)) for i in range(20)}
FLOATS = LARGE // 4


def back(state):
    described = describe(state)
    data = bytearray(described.schema.data_bytes)
    write_out(described, data)
    read = Schema.model_validate_json(described.schema.model_dump_json())
    return rebuild(read, described.values, data)


def test_tensors_that_look_alike_are_described_once_and_named_in_one_run():
    schema = describe(ALIKE).schema
    assert schema.tree == {"d": [[list(ALIKE), {"R": 0}]]}
    assert [form.shape for form in schema.forms] == [(4,)]
    assert schema.tensors.forms == (0,) * 20
    assert schema.regions.nbytes == (16,) * 20


NESTS = {
    "a dict": dict(ALIKE),
    "an OrderedDict": OrderedDict(reversed(ALIKE.items())),
    "a Counter": Counter(dict(ALIKE)),
    "a list": list(ALIKE.values()),
    "a tuple": tuple(ALIKE.values()),
    "a deque": {"d": deque(ALIKE.values(), maxlen=30)},
    "values in between": {**ALIKE, "step": 3, **{f"again.{i}": torch.ones(2) for i in range(9)}, "end": [None]},
    "values in a list": [1, *ALIKE.values(), "x", *[torch.ones(1)] * 7, 2.5],
    "keys that are no text": {**ALIKE, **{i: torch.ones(3) for i in range(9)}, ("a", 1): torch.zeros(1)},
    "other forms": {f"{i}": torch.ones(i, dtype=(torch.float32, torch.bfloat16)[i % 2]) for i in range(12)},
    "a nest": {"model": ALIKE, "optimizer": {"state": {i: dict(ALIKE) for i in range(3)}}},
}


@pytest.mark.parametrize("state", NESTS.values(), ids=NESTS)
def test_a_run_comes_back_as_the_container_that_it_was(state):
    def told(node):
        if isinstance(node, torch.Tensor):
            return node.dtype, node.tolist()
        if isinstance(node, dict):
            return type(node), [(key, told(each)) for key, each in node.items()]
        return (type(node), list(map(told, node))) if isinstance(node, list | tuple | deque) else node

    assert told(back(state)) == told(state)


def test_parameters_and_ties_among_many_stay_what_they_are():
    row = torch.arange(8.0)
    state = {**ALIKE, "p": torch.nn.Parameter(torch.ones(4)), "one": row[:4], "other": row[2:6], "none": row[3:3]}
    kinds = {entry.path: (entry.kind, entry.requires_grad) for entry in describe(state).schema.each_tensor}
    assert kinds["p"] == ("parameter", True)
    came = back(state)
    came["one"][2] = 9.0
    assert came["other"][0] == 9.0
    assert came["none"].shape == (0,)


OBJECTS = {
    "a container": lambda tree: {"c": ["any.Container", tree]},
    "a tensor made of tensors": lambda tree: {"x": ["any.Tensor", {"K": None}, tree, {}]},
    "a DTensor of tensors": lambda tree: {"dt": [{}, tree]},
}


@pytest.mark.parametrize("around", OBJECTS.values(), ids=OBJECTS)
def test_a_run_inside_an_object_is_told_one_by_one_as_well(around):
    assert runless(around({"l": [{"R": [3, 2]}]})) == around({"l": [{"T": 3}, {"T": 4}]})


def test_a_name_that_differs_inside_a_run_is_told_by_itself():
    offered, target = describe(ALIKE).schema, describe({**ALIKE, "b": torch.ones(1)}).schema
    assert [str(each) for each in compare(offered, target)] == ["b is not in the offered state and is a tensor here"]
    target = describe({**dict(list(ALIKE.items())[:19]), "layers.19.weight": 3}).schema
    assert {each.path for each in compare(offered, target)} == {"layers.19.weight"}


def test_a_tensor_whose_memory_was_given_back_is_refused_by_name():
    gone = torch.ones(100)
    gone.untyped_storage().resize_(0)
    with pytest.raises(UnsupportedLeaf, match=r"gone is a Tensor of .*its memory was given back"):
        describe({**ALIKE, "gone": gone})


def test_memory_that_is_taken_away_on_the_way_is_found_before_it_is_read():
    going = torch.ones(100)
    described = describe({**ALIKE, "going": going})
    going.untyped_storage().resize_(0)
    with pytest.raises(Misuse, match="resized"):
        write_out(described, bytearray(described.schema.data_bytes))


@given(
    some.lists(some.sampled_from([0, 1, 15, 16, 100, FLOATS - 1, FLOATS]), max_size=8),
    some.sampled_from([LARGE // 2, 3 * LARGE - 1, 8 * LARGE]),
)
def test_what_is_gathered_into_chunks_and_scattered_again_is_all_that_there_was(sizes, chunk_bytes):
    state = [torch.arange(1.0, size + 1) for size in sizes]
    given_, taken = describe(state), describe([torch.zeros_like(each) for each in state])
    cut, section = Cut(given_.schema, chunk_bytes), bytearray(given_.schema.data_bytes)
    write_out(given_, section)
    for index in range(cut.count):
        bucket, pieces = torch.full((cut.length(index),), 7, dtype=torch.uint8), cut.columns(index)
        clear(bucket, pieces.gaps(cut.length(index)))
        gather(bucket, pieces, given_.regions)
        assert bytes(bucket.numpy().data) == section[index * chunk_bytes :][: cut.length(index)]
        scatter(bucket, pieces, taken.regions)
    assert all(map(torch.equal, taken.leaves.tensors, state))


def test_no_piece_goes_past_its_buffer():
    regions, cut = [torch.ones(100, dtype=torch.uint8)], Cut(a_schema(25), 100)
    for act in (gather, scatter):
        with pytest.raises(Misuse, match="buffer of 99"):
            act(torch.ones(99, dtype=torch.uint8), cut.columns(0), regions)
        with pytest.raises(Misuse, match="region of 50"):
            act(torch.ones(100, dtype=torch.uint8), cut.columns(0), [regions[0][:50]])
    with pytest.raises(Misuse, match="buffer of 99"):
        clear(torch.ones(99, dtype=torch.uint8), [(90, 10)])


def test_very_many_views_of_one_buffer_are_compared_as_one_group():
    def viewed(dtype):
        flat = torch.zeros(20_000)
        return describe({"flat": flat, "views": list(flat.split(1)), "other": torch.zeros(1, dtype=dtype)}).schema

    (difference,) = compare(viewed(torch.float32), viewed(torch.float64))
    assert (difference.path, difference.what) == ("other", "dtype")
