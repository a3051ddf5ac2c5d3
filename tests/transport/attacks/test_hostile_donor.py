"""A donor that lies: whatever it sends, the recipient ends with an error of ours and a place that nothing touched."""

import struct
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as any_

import builders_ends as build
import builders_wire
from checkpointheal import digest, recipient, wire
from checkpointheal.channel import receive_frame
from checkpointheal.channel.loopback import LoopBack
from checkpointheal.contract.layout import Identity, Manifest, Schema
from checkpointheal.ends.live import StagedSink
from checkpointheal.errors import BadFrame, BytesDiffer, CheckpointHealError, UnknownVersion
from checkpointheal.session import Expected
from checkpointheal.wire import framing

OFFER = wire.encode(build.OFFER)
PREFIX, HEADER = OFFER[: wire.PREFIX_BYTES], OFFER[wire.PREFIX_BYTES :]


def message(raw: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8)


def received(*messages: bytes, sink: object = None, expected: Expected = build.EXPECTED) -> object:
    """What a recipient makes of these messages, after which the donor hangs up."""
    giving, taking = LoopBack.pair()
    for raw in messages:
        if raw:
            giving.send(message(raw))
    giving.close()
    try:
        return recipient.take(taking, sink or build.BytesSink(), expected, build.terms(5))  # type: ignore[arg-type]
    except CheckpointHealError as error:
        return error


def a_prefix(magic: bytes = framing.MAGIC, version: int = 1, kind: int = 2, length: int = len(HEADER)) -> bytes:
    return struct.pack("<4sHHQ", magic, version, kind, length)


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ((b"SSH-2.0-OpenSSH_",), BadFrame),
        ((a_prefix(magic=b"CKHP"), HEADER), BadFrame),
        ((a_prefix(version=2), HEADER), UnknownVersion),
        ((a_prefix(kind=9), HEADER), BadFrame),
        ((a_prefix(kind=1), HEADER), BadFrame),
        ((a_prefix(length=(64 << 20) + 1), HEADER), BadFrame),
        ((a_prefix(length=2**64 - 1), HEADER), BadFrame),
        ((a_prefix()[:7], HEADER), BadFrame),
        ((PREFIX, HEADER[: len(HEADER) // 2]), BadFrame),
        ((PREFIX, HEADER[len(HEADER) // 2 :] + HEADER[: len(HEADER) // 2]), BadFrame),
        ((a_prefix(length=2), b"{}"), BadFrame),
        ((a_prefix(length=100_000), b"[" * 100_000), BadFrame),
        ((a_prefix(length=12_010), b'{"attempt":' + b"9" * 11_998 + b"}"), BadFrame),
        ((HEADER[:16], PREFIX), BadFrame),
    ],
    ids=[
        "another protocol",
        "a foreign magic",
        "an unknown version",
        "an unknown kind",
        "another frame's kind",
        "an oversized header",
        "the largest length",
        "a truncated prefix",
        "a truncated header",
        "a reordered header",
        "an empty header",
        "a header nested without end",
        "a number without end",
        "header and prefix exchanged",
    ],
)
def test_what_is_no_offer_is_refused_before_anything_is_touched(
    messages: tuple[bytes, ...], error: type[CheckpointHealError]
) -> None:
    sink = build.BytesSink()
    assert type(received(*messages, sink=sink)) is error
    assert not sink.prepared


@pytest.mark.parametrize("messages", [(a_prefix(version=2), HEADER), (a_prefix(length=2), b"{}")])
def test_a_donor_whose_offer_cannot_be_read_is_told_why(messages: tuple[bytes, ...]) -> None:
    giving, taking = LoopBack.pair()
    for raw in messages:
        giving.send(message(raw))
    with pytest.raises((BadFrame, UnknownVersion)) as refused:
        recipient.take(taking, build.BytesSink(), build.EXPECTED, build.terms(5))
    receive_frame(giving, 5)
    told = receive_frame(giving, 5)
    assert isinstance(told, wire.Refuse)
    assert (told.reason, told.message) == (refused.value.reason, str(refused.value))


def told_truly(schema: Schema, data_bytes: int | None = None, values: tuple[object, ...] = ()) -> bytes:
    """An offer whose digests are true and whose schema is not sound."""
    if data_bytes is not None:
        schema = schema.model_copy(update={"data_bytes": data_bytes})
    count = -(-schema.data_bytes // build.CHUNK)
    chunks, name = ("0" * 32,) * count, digest.schema_digest(schema)
    offer = build.OFFER.model_copy(
        update={
            "manifest": Manifest(schema=schema, values=values),  # type: ignore[arg-type]
            "chunks": chunks,
            "identity": Identity(step=7, schema_digest=name, state_digest=digest.state_digest(name, values, chunks)),  # type: ignore[arg-type]
        }
    )
    return wire.encode(offer)


SCHEMA = builders_wire.a_schema(4, 8)
FIRST = SCHEMA.regions[0]


def with_region(**changes: object) -> Schema:
    return SCHEMA.model_copy(update={"regions": (FIRST.model_copy(update=changes), *SCHEMA.regions[1:])})


def with_tensor(**changes: object) -> Schema:
    return SCHEMA.model_copy(update={"tensors": (SCHEMA.tensors[0].model_copy(update=changes), *SCHEMA.tensors[1:])})


UNSOUND: dict[str, Callable[[], bytes]] = {
    "overlapping regions": lambda: told_truly(with_region(nbytes=80)),
    "a hole between regions": lambda: told_truly(with_region(offset=64)),
    "more data than regions": lambda: told_truly(SCHEMA, data_bytes=SCHEMA.data_bytes + 1),
    "less data than regions": lambda: told_truly(SCHEMA, data_bytes=SCHEMA.data_bytes - 1),
    "an unknown dtype": lambda: told_truly(with_tensor(dtype="object")),
    "a region that is not there": lambda: told_truly(with_tensor(region=2)),
    "a tensor past its region": lambda: told_truly(with_tensor(shape=(5,))),
    "a stride past its region": lambda: told_truly(with_tensor(stride=(1 << 40,))),
    "fewer strides than dimensions": lambda: told_truly(with_tensor(stride=())),
    "a misaligned tensor": lambda: told_truly(with_tensor(shape=(1,), offset=2)),
    "a leaf twice": lambda: told_truly(SCHEMA.model_copy(update={"tree": {"l": [{"T": 0}, {"T": 0}]}})),
    "a leaf too few": lambda: told_truly(SCHEMA.model_copy(update={"tree": {"l": [{"T": 0}]}})),
    "an unknown container": lambda: told_truly(SCHEMA.model_copy(update={"tree": {"os.system": ["id"]}})),
    "a value too many": lambda: told_truly(SCHEMA, values=(1,)),
    "a tree without end": lambda: told_truly(SCHEMA.model_copy(update={"tree": nested(100)})),
}


def nested(depth: int) -> object:
    node: object = {"T": 0}
    for _ in range(depth):
        node = {"l": [node]}
    return node


@pytest.mark.parametrize("offer", UNSOUND.values(), ids=UNSOUND.keys())
def test_an_unsound_schema_is_refused_although_its_digests_are_true(offer: Callable[[], bytes]) -> None:
    raw, asked = offer(), []
    found = received(
        raw[: wire.PREFIX_BYTES],
        raw[wire.PREFIX_BYTES :],
        sink=StagedSink(asked.append),
        expected=Expected("heal", 3, None),
    )
    assert isinstance(found, BadFrame)
    assert not asked


def chunk(index: int) -> bytes:
    return build.DATA[index * build.CHUNK :][: build.CHUNK]


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(1), chunk(0)],
        [chunk(0), chunk(0)],
        [bytes(build.CHUNK), chunk(1)],
        [chunk(0)[:-1], chunk(1)],
        [chunk(0)[1:], chunk(1)],
    ],
    ids=["reordered", "replayed", "zeros", "truncated", "shifted"],
)
def test_chunks_that_are_not_the_offered_ones_never_make_a_state(chunks: list[bytes]) -> None:
    lying = bytearray(b"\xff" * (2 * build.CHUNK)) + build.DATA[2 * build.CHUNK :]
    sink = build.BytesSink(bytes(lying))
    assert chunk(0) != chunk(1)
    assert isinstance(received(PREFIX, HEADER, *chunks, sink=sink), BytesDiffer)
    assert not sink.sealed


@settings(max_examples=200)
@given(any_.lists(any_.binary(max_size=16) | any_.just(PREFIX) | any_.just(HEADER), max_size=4), any_.data())
def test_no_sequence_of_messages_does_more_than_raise(messages: list[bytes], data: any_.DataObject) -> None:
    mangled = bytearray(HEADER)
    for _ in range(data.draw(any_.integers(1, 3))):
        mangled[data.draw(any_.integers(0, len(HEADER) - 1))] = data.draw(any_.integers(0, 255))
    sink = build.BytesSink()
    assert isinstance(received(*messages, sink=sink), CheckpointHealError)
    assert isinstance(received(PREFIX, bytes(mangled), sink=sink), CheckpointHealError)
    assert not sink.sealed


def test_a_refused_donor_is_told_why() -> None:
    giving, taking = LoopBack.pair()
    giving.send(message(PREFIX))
    giving.send(message(HEADER))
    other = Expected("heal", 9, build.OFFER.identity)
    with pytest.raises(CheckpointHealError):
        recipient.take(taking, build.BytesSink(), other, build.terms(5))
    assert isinstance(receive_frame(giving, 1), wire.Hello)
    told = receive_frame(giving, 1)
    assert isinstance(told, wire.Refuse)
    assert told.reason == "Abandoned"
