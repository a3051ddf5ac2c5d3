"""What is a frame, and which bytes are refused before anything is believed of them?"""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as any_
from pydantic import ValidationError

import builders_wire as build
from checkpointheal import wire
from checkpointheal.contract.layout import Manifest
from checkpointheal.errors import BadFrame, Misuse, UnknownVersion
from checkpointheal.wire import framing

DIGESTS = any_.text("0123456789abcdef", min_size=32, max_size=32)
COUNTS = any_.integers(0, 2**40)
HELLOS = any_.builds(
    wire.Hello,
    heal=any_.text(min_size=1, max_size=40),
    attempt=any_.integers(1, 2**31),
    spoken=any_.lists(any_.integers(1, 65535), min_size=1, max_size=16).map(tuple),
)
WANTS = any_.lists(any_.integers(0, 10_000), unique=True).map(
    lambda at: wire.Want(
        ranges=tuple(wire.Range(first=2 * i, end=2 * i + 1 + (i % 2 == 0 and i + 1 not in at)) for i in sorted(at))
    )
)
RECEIPTS = any_.builds(wire.Receipt, state_digest=DIGESTS)
REFUSALS = any_.builds(
    wire.Refuse, reason=any_.sampled_from(["BytesDiffer", "Abandoned"]), message=any_.text(max_size=100)
)
OFFERS = any_.lists(any_.integers(0, 300), min_size=1, max_size=5).map(
    lambda sizes: build.an_offer(build.a_schema(*sizes))
)
FRAMES = HELLOS | WANTS | RECEIPTS | REFUSALS | OFFERS


def read(raw: bytes) -> wire.Frame:
    """As a channel does: the prefix first, then as much as it promises."""
    prefix = wire.parse_prefix(raw[: wire.PREFIX_BYTES])
    return wire.parse(prefix, raw[wire.PREFIX_BYTES :][: prefix.length])


def a_prefix(
    magic: bytes = framing.MAGIC, version: int = 1, kind: int = 3, length: int = 13, layout: str = "<4sHHQ"
) -> bytes:
    return struct.pack(layout, magic, version, kind, length)


@given(FRAMES)
def test_every_frame_comes_back_as_it_was(frame: wire.Frame) -> None:
    assert read(wire.encode(frame)) == frame


@given(any_.binary(max_size=200))
def test_any_bytes_are_a_frame_or_a_refusal(raw: bytes) -> None:
    with pytest.raises((BadFrame, UnknownVersion)):
        read(raw)


@given(any_.binary(max_size=200), any_.sampled_from([1, 2, 3, 4, 5]))
def test_any_header_is_a_frame_or_a_refusal(header: bytes, kind: int) -> None:
    with pytest.raises(BadFrame):
        read(a_prefix(kind=kind, length=len(header)) + header)


@given(FRAMES, any_.data())
def test_a_frame_with_one_byte_changed_is_another_frame_or_a_refusal(frame: wire.Frame, data: any_.DataObject) -> None:
    raw = bytearray(wire.encode(frame))
    raw[data.draw(any_.integers(0, len(raw) - 1))] ^= data.draw(any_.integers(1, 255))
    try:
        found = read(bytes(raw))
    except (BadFrame, UnknownVersion):
        return
    assert type(found) in {wire.Hello, wire.Offer, wire.Want, wire.Receipt, wire.Refuse}


@given(FRAMES, any_.data())
def test_a_truncated_frame_is_refused(frame: wire.Frame, data: any_.DataObject) -> None:
    raw = wire.encode(frame)
    with pytest.raises(BadFrame):
        read(raw[: data.draw(any_.integers(0, len(raw) - 1))])


@pytest.mark.parametrize(
    ("prefix", "error", "sentence"),
    [
        (a_prefix()[:-1], BadFrame, "a frame begins with 16 bytes, 15 came"),
        (a_prefix() + b"\0", BadFrame, "a frame begins with 16 bytes, 17 came"),
        (a_prefix(magic=b"HTTP"), BadFrame, "the peer speaks something else"),
        (a_prefix(version=0), UnknownVersion, "a frame of version 0 came, this build speaks version 1"),
        (a_prefix(version=2), UnknownVersion, "a frame of version 2 came, this build speaks version 1"),
        (a_prefix(kind=0), BadFrame, "a frame of kind 0 came, which version 1 does not have"),
        (a_prefix(kind=6), BadFrame, "a frame of kind 6 came, which version 1 does not have"),
        (a_prefix(length=framing.HEADER_LIMIT + 1), BadFrame, "the Want claims a header of 67108865 bytes"),
        (a_prefix(layout=">4sHHQ"), UnknownVersion, "a frame of version 256 came"),
    ],
)
def test_a_prefix_that_breaks_a_rule_is_refused_by_it(prefix: bytes, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        wire.parse_prefix(prefix)


def test_a_header_of_the_limit_itself_is_read() -> None:
    assert wire.parse_prefix(a_prefix(length=framing.HEADER_LIMIT)).length == framing.HEADER_LIMIT


@pytest.mark.parametrize("more", [-1, 1])
def test_a_header_that_is_whole_and_yet_not_as_long_as_promised_is_refused(more: int) -> None:
    raw = wire.encode(build.a_want())
    header = raw[wire.PREFIX_BYTES :]
    prefix = wire.parse_prefix(a_prefix(length=len(header) + more))
    with pytest.raises(BadFrame, match=f"promises a header of {len(header) + more} bytes, {len(header)} came"):
        wire.parse(prefix, header)


def test_a_refusal_names_the_fields_that_do_not_fit() -> None:
    with pytest.raises(BadFrame, match=r"the Receipt is not one: state_digest: String should match"):
        read(a_prefix(kind=4, length=20) + b'{"state_digest": ""}')


@pytest.mark.parametrize(
    ("ranges", "sentence"),
    [
        ([[0, 0]], "the range 0..0 is empty"),
        ([[4, 2]], "the range 4..2 is empty"),
        ([[4, 6], [0, 2]], "not after the one before"),
        ([[0, 4], [3, 5]], "not after the one before"),
        ([[0, 4], [4, 5]], "not after the one before"),
        ([[0, 4], [0, 4]], "not after the one before"),
    ],
)
def test_a_want_ascends_and_names_no_chunk_twice(ranges: list[list[int]], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        build.a_want(*ranges)


@pytest.mark.parametrize("extra", [-2, -1, 1, 2])
def test_an_offer_lists_a_digest_for_every_chunk(extra: int) -> None:
    offer = build.an_offer()
    count = len(offer.chunks) + extra
    with pytest.raises(BadFrame, match=f"{count} chunks are listed, the data section has {len(offer.chunks)}"):
        read(wire.encode(offer.model_copy(update={"chunks": (offer.chunks * 2)[:count]})))


@pytest.mark.parametrize(
    "changes", [{"chunk_bytes": 0}, {"chunk_bytes": (256 << 20) + 1}, {"attempt": 0}, {"heal": ""}], ids=str
)
def test_an_offer_beyond_its_limits_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(BadFrame):
        read(wire.encode(build.an_offer().model_copy(update=changes)))


def test_a_frame_too_long_for_any_peer_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "HEADER_LIMIT", 100)
    with pytest.raises(Misuse, match="over 100: merge tensors"):
        wire.encode(build.an_offer())
    with pytest.raises(Misuse, match="the Refuse takes 533 bytes, over 100: say less"):
        wire.encode(wire.Refuse(reason="Overdue", message="x" * 500))


@pytest.mark.parametrize(("theirs", "agreed"), [((1,), 1), ((1, 2), 1), ((3, 1, 2), 1)])
def test_the_highest_common_version_is_spoken(theirs: tuple[int, ...], agreed: int) -> None:
    assert wire.negotiate(theirs) == agreed


def test_builds_without_a_common_version_part_with_a_sentence() -> None:
    with pytest.raises(UnknownVersion, match="the peer speaks version 2, 3, this build version 1: upgrade the older"):
        wire.negotiate((3, 2))


def test_a_later_build_speaks_the_version_before_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seam: with a second version, greetings and refusals stay what they were, and an agreed frame says so."""
    monkeypatch.setattr(framing, "SPOKEN", (2, 1))
    assert (wire.negotiate((1,)), wire.negotiate((1, 2, 3))) == (1, 2)
    hello = wire.Hello(heal="heal", attempt=1, spoken=(2, 1))
    written = {version: wire.encode(build.a_want(), version)[4] for version in (1, 2)}
    assert (wire.encode(hello, 2)[4], written) == (1, {1: 1, 2: 2})
    assert read(wire.encode(build.a_want(), 2)) == build.a_want()


@given(OFFERS)
def test_the_bytes_of_all_chunks_are_those_of_the_data_section(offer: wire.Offer) -> None:
    count = len(offer.chunks)
    assert offer.bytes_of(range(count)) == offer.manifest.schema_.data_bytes
    assert offer.bytes_of(()) == 0
    if count > 1:
        assert offer.bytes_of([0]) == offer.chunk_bytes


@pytest.mark.parametrize("message", ["", "gone", 'é\n"\\' * 900, "x" * wire.MESSAGE_LIMIT])
@pytest.mark.parametrize("room", [60, 200, 1 << 16])
def test_a_reason_is_found_in_the_chunk_that_it_takes_the_place_of(message: str, room: int) -> None:
    said = wire.instead(wire.Refuse(reason="PeerLost", message=message), room)
    assert 0 < len(said) <= room
    found = wire.found_in(said.ljust(room, b"\0")[: wire.LONGEST])
    assert isinstance(found, wire.Refuse)
    assert found.reason == "PeerLost"
    assert message.startswith(found.message)
    assert found.message == message or len(said) > room - 24, "cut as little as must be"


def test_there_is_no_reason_where_there_is_no_room_for_one() -> None:
    assert wire.instead(wire.Refuse(reason="PeerLost", message="gone"), 40) == b""


@pytest.mark.parametrize(
    "chunk",
    [b"", b"\0" * 64, wire.encode(wire.Want(ranges=())), wire.encode(wire.Refuse(reason="No", message="gone"))[:30]],
)
def test_a_chunk_that_merely_differs_holds_no_reason(chunk: bytes) -> None:
    assert wire.found_in(chunk) is None


def test_an_offer_that_is_too_long_says_which_values_would_be_better_tensors() -> None:
    schema = build.a_schema().model_copy(update={"value_paths": ("", "table", "lr", "names", "step")})
    values = ("x" * 9000, "y" * 8000, 0.1, "z" * 7000, 5)
    offer = build.an_offer(manifest=Manifest(schema=schema, values=values))
    assert offer.remedy() == (
        "make a tensor of what is large in it: the state itself (9002 bytes), table (8002 bytes), names (7002 bytes)"
    )
    assert build.an_offer().remedy() == "merge tensors"
