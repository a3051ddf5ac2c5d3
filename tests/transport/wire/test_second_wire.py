"""Is the page on the wire enough? An implementation that was written from it alone meets ours, on either side."""

import ast
import json
import re
import struct
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

import builders_ends as build
import second_wire
from checkpointheal import PGTransport, digest, manifest
from checkpointheal.channel.stream import Stream
from checkpointheal.channel.stream_group import StreamGroup
from second_wire import Tensor

PAGE = (Path(__file__).parents[3] / "docs" / "wire.md").read_text()
LIBRARY = {"heal": "library", "attempt": 1}
MEMORY = struct.pack("<6f", *range(6))
STATE: dict[Any, Any] = {
    "model": {
        "w": Tensor("float32", (2, 3), MEMORY),
        "row": Tensor("float32", (3,), MEMORY, 12),
        "turned": Tensor("float32", (3, 2), MEMORY, 0, (1, 3)),
        "much": Tensor("uint8", (700,), bytes(range(250)) * 2 + bytes(200)),
        "none": Tensor("int64", (0, 4), b""),
        "h": Tensor("bfloat16", (2,), b"\x80?\x00@"),
        "mask": Tensor("bool", (3,), b"\1\0\1"),
    },
    "groups": [OrderedDict(lr=0.1, betas=(0.9, -0.0)), {3: None, (1, 2): True, ("é\x7f\U0001f600", 1): b"\0k"}],
    "many": {
        **{f"layers.{i}.weight": Tensor("float32", (6,), struct.pack("<6f", *range(i, i + 6))) for i in range(9)},
        0: Tensor("uint8", (1,), b"\7"),
        "tied": Tensor("float32", (6,), MEMORY),
    },
    "rows": ["begin", *[Tensor("float32", (3,), MEMORY, 12 * (i % 2)) for i in range(8)], "end"],
    "seen": Counter(a=2**70),
    "words": ["", float("inf"), 1j, 'quotes " and \\ and \n'],
}


def as_torch(node: Any, memories: dict[int, torch.Tensor]) -> Any:
    """The state as our library has it, with the same ties."""
    match node:
        case Tensor():
            memory = memories.setdefault(id(node.memory), torch.tensor(list(node.memory), dtype=torch.uint8))
            dtype = getattr(torch, node.dtype)
            empty = torch.empty(0, dtype=dtype)
            if not memory.numel():
                return torch.empty(node.shape, dtype=dtype)
            return empty.set_(memory.untyped_storage(), node.offset // dtype.itemsize, node.shape, node.strides())
        case dict():
            made = {key: as_torch(each, memories) for key, each in node.items()}
            return made if type(node) is dict else type(node)(made)
        case list() | tuple():
            return type(node)(as_torch(each, memories) for each in node)
    return node


OURS = as_torch(STATE, {})


@pytest.fixture(params=[build.connected, build.secured], ids=["plain", "tls"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[StreamGroup, second_wire.Stream]]:
    """Our end, as a process group of two, and the other one's."""
    here, there = request.param()
    stream = Stream(here, 20)
    yield StreamGroup(0, 2, {1: stream}), second_wire.Stream(there, 20)
    stream.abort()
    there.close()


def ours(group: StreamGroup, **options: Any) -> PGTransport:
    return PGTransport(group, timedelta(seconds=20), torch.device("cpu"), **options)


def both(one: Callable[[], Any], other: Callable[[], Any]) -> list[Any]:
    outcomes = build.side_by_side(one, other)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return outcomes


def identity_of(state: Any, chunk_bytes: int) -> dict[str, Any]:
    described = manifest.describe(state)
    data = bytearray(described.schema.data_bytes)
    manifest.write_out(described, data)
    schema = digest.schema_digest(described.schema)
    chunks = digest.chunk_digests(data, chunk_bytes)
    return {
        "step": 0,
        "schema_digest": schema,
        "state_digest": digest.state_digest(schema, described.values, chunks),
    }


def test_it_knows_nothing_of_ours() -> None:
    tree = ast.parse(Path(second_wire.__file__).read_text())
    named = {each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names}
    named |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in named} - {"xxhash"} <= sys.stdlib_module_names


def test_both_tell_the_same_state_by_the_same_manifest_bytes_and_digests() -> None:
    told, data = second_wire.told(STATE)
    described = manifest.describe(OURS)
    section = bytearray(described.schema.data_bytes)
    manifest.write_out(described, section)
    assert told["schema"] == described.schema.model_dump(mode="json")
    assert told["values"] == list(described.values)
    assert data == bytes(section)
    chunks = [second_wire.digest(data[at : at + 256]) for at in range(0, len(data), 256)]
    assert second_wire.identity(0, told, chunks) == identity_of(OURS, 256)


@pytest.mark.parametrize("in_place", [False, True], ids=["into new memory", "in place"])
def test_our_recipient_takes_a_state_from_it(ends: tuple[StreamGroup, second_wire.Stream], in_place: bool) -> None:
    group, stream = ends
    live = as_torch(STATE, {})
    live["model"]["w"].zero_()
    options = {"state_dict": lambda: live} if in_place else {}
    found, sent = both(
        lambda: ours(group, **options).recv_checkpoint(1), lambda: second_wire.give(stream, STATE, LIBRARY)
    )
    assert identity_of(found, 256) == identity_of(OURS, 256)
    assert sent == list(range(len(second_wire.told(STATE)[1]) // 256 + 1))
    assert not in_place or found["model"]["w"] is live["model"]["w"]


@pytest.mark.parametrize("runs", [0, 1, 2], ids=["all at once", "one at a time", "two at a time"])
def test_our_donor_gives_it_a_state(ends: tuple[StreamGroup, second_wire.Stream], runs: int) -> None:
    group, stream = ends
    large = {**OURS, "large": torch.arange(3 << 20, dtype=torch.int64)}
    _, (found, identity) = both(
        lambda: ours(group).send_checkpoint([1], large), lambda: second_wire.take(stream, LIBRARY, runs)
    )
    assert identity == identity_of(large, digest.CHUNK_BYTES)
    assert identity_of(as_torch(found, {}), digest.CHUNK_BYTES) == identity


def test_large_tensors_of_its_state_cross_as_messages_of_their_own(
    ends: tuple[StreamGroup, second_wire.Stream],
) -> None:
    group, stream = ends
    sizes = (5, 1 << 20, 3, 700, (1 << 20) - 1, (2 << 20) + 1)
    state = {str(at): Tensor("uint8", (size,), bytes([at + 1]) * size) for at, size in enumerate(sizes)}
    found, _ = both(
        lambda: ours(group).recv_checkpoint(1), lambda: second_wire.give(stream, state, LIBRARY, chunk_bytes=3 << 20)
    )
    assert {name: bytes(tensor.numpy()) for name, tensor in found.items()} == {
        name: tensor.memory for name, tensor in state.items()
    }


@pytest.mark.parametrize("empty", [{}, {"step": 1}], ids=["nothing", "a value alone"])
def test_a_state_without_bytes_crosses_both_ways(ends: tuple[StreamGroup, second_wire.Stream], empty: Any) -> None:
    group, stream = ends
    _, (found, _) = both(lambda: ours(group).send_checkpoint([1], empty), lambda: second_wire.take(stream, LIBRARY, 0))
    back, sent = both(lambda: ours(group).recv_checkpoint(1), lambda: second_wire.give(stream, empty, LIBRARY))
    assert (found, back, sent) == (empty, empty, [])


def test_each_hears_the_others_refusal(ends: tuple[StreamGroup, second_wire.Stream]) -> None:
    group, stream = ends
    other = {"heal": "another", "attempt": 1}
    gave, took = build.side_by_side(
        lambda: ours(group).send_checkpoint([1], OURS), lambda: refused(lambda: second_wire.take(stream, other))
    )
    assert "the recipient came for another attempt 1" in str(gave)
    assert took.startswith("Abandoned: the recipient came for another attempt 1")
    took, gave = build.side_by_side(
        lambda: ours(group).recv_checkpoint(1), lambda: refused(lambda: second_wire.give(stream, STATE, other))
    )
    assert str(took) == "Abandoned: another transfer, or another version"


def refused(act: Callable[[], Any]) -> str:
    with pytest.raises(second_wire.Refused) as caught:
        act()
    return str(caught.value)


def test_the_goodbyes_end_the_stream_without_an_error(ends: tuple[StreamGroup, second_wire.Stream]) -> None:
    group, stream = ends
    both(lambda: ours(group).send_checkpoint([1], OURS), lambda: second_wire.take(stream, LIBRARY))
    both(group.shutdown, stream.close)


def test_the_example_of_the_page_is_true() -> None:
    (written,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    state = {"w": Tensor("float32", (2,), struct.pack("<2f", 1, 2)), "step": 3}
    told, data = second_wire.told(state)
    assert json.loads(written) == told
    chunk = second_wire.digest(data)
    found = second_wire.identity(0, told, [chunk])
    for shown in (data.hex(), chunk, found["schema_digest"], found["state_digest"]):
        assert f"`{shown}`" in PAGE
    assert identity_of(as_torch(state, {}), digest.CHUNK_BYTES) == found
