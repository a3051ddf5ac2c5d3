"""Whatever is done to a valid conversation, over every channel: an error of ours, nothing loaded, nobody waits on.

One thing is left out: over gloo a message that is longer than its receiver asked for ends the receiver's process.
"""

import contextlib
from collections.abc import Callable, Sequence

import pytest
import torch

import builders_ends as build
import builders_wire
from checkpointheal import donor, recipient, wire
from checkpointheal.channel import Channel, Pending, receive_frame
from checkpointheal.errors import (
    Abandoned,
    BadFrame,
    BytesDiffer,
    CheckpointHealError,
    Overdue,
    PeerLost,
    PeerRefused,
    UnknownVersion,
)

COUNT = len(build.OFFER.chunks)
LONG, SHORT = 20, 0.5
"""How long anybody waits for a word that will come, and for one that never will."""
Messages = list[bytes]
HELLO = wire.Hello(heal=builders_wire.HEAL, attempt=builders_wire.ATTEMPT, spoken=(1,))
RECEIPT = wire.Receipt(state_digest=build.OFFER.identity.state_digest)


def written(*frames: wire.Frame) -> Messages:
    raws = [wire.encode(frame) for frame in frames]
    return [part for raw in raws for part in (raw[: wire.PREFIX_BYTES], raw[wire.PREFIX_BYTES :])]


OVER = written(wire.Refuse(reason="Over", message="nothing more is said"))


def flipped(raw: bytes, bit: int) -> bytes:
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def at(index: int, change: Callable[[bytes], bytes]) -> Callable[[Messages], Messages]:
    """One message changed."""
    return lambda told: [*told[:index], change(told[index]), *told[index + 1 :]]


def exchanged(one: int, other: int) -> Callable[[Messages], Messages]:
    def swap(told: Messages) -> Messages:
        told = list(told)
        told[one], told[other] = told[other], told[one]
        return told

    return swap


def offering(**changes: object) -> Callable[[Messages], Messages]:
    return lambda told: [*written(build.OFFER.model_copy(update=changes)), *told[2:]]


GIVEN = [*written(build.OFFER), *(build.DATA[i * build.CHUNK :][: build.CHUNK] for i in range(COUNT))]
STEP = build.OFFER.identity.model_copy(update={"step": builders_wire.STEP + 1})
LIES: dict[str, tuple[Callable[[Messages], Messages], tuple[type[CheckpointHealError], ...]]] = {
    "another attempt": (offering(attempt=builders_wire.ATTEMPT - 1), (Abandoned,)),
    "another heal": (offering(heal="another"), (Abandoned,)),
    "another step": (offering(identity=STEP), (Abandoned,)),
    "digests of other chunks": (offering(chunks=build.OFFER.chunks[::-1]), (BytesDiffer,)),
    "another version": (at(0, lambda raw: raw[:4] + b"\2" + raw[5:]), (UnknownVersion,)),
    "a flipped bit in the magic": (at(0, lambda raw: flipped(raw, 3)), (BadFrame,)),
    "a flipped bit in the kind": (at(0, lambda raw: flipped(raw, 48)), (BadFrame,)),
    "a flipped bit in the length": (at(0, lambda raw: flipped(raw, 64 + 20)), (BadFrame, PeerLost)),
    "an endless length": (at(0, lambda raw: raw[:8] + b"\xff" * 8), (BadFrame,)),
    "a truncated prefix": (at(0, lambda raw: raw[:7]), (BadFrame, PeerLost)),
    "a truncated header": (at(1, lambda raw: raw[:-7]), (BadFrame, PeerLost)),
    "a flipped bit in the first chunk": (at(2, lambda raw: flipped(raw, 0)), (BytesDiffer,)),
    "a flipped bit in the last chunk": (at(-1, lambda raw: flipped(raw, 8 * len(raw) - 1)), (BytesDiffer,)),
    "a truncated chunk": (at(3, lambda raw: raw[:-1]), (BytesDiffer, PeerLost)),
    "a truncated last chunk": (at(-1, lambda raw: raw[:1]), (BytesDiffer, PeerLost)),
    "reordered chunks": (exchanged(2, 3), (BytesDiffer,)),
    "a replayed chunk": (lambda told: [*told[:3], told[2], *told[4:]], (BytesDiffer,)),
    "a replayed prefix": (lambda told: [*told[:3], told[0], *told[4:]], (BytesDiffer, PeerLost)),
    "silence instead of the offer": (lambda told: [], (Overdue,)),
    "silence after the offer": (lambda told: told[:2], (Overdue,)),
    "silence in the middle": (lambda told: told[:5], (Overdue,)),
}
"""What a donor says instead of the truth, and the errors that may come of it: a channel may be the first to notice."""


@pytest.fixture(params=build.CHANNELS.values(), ids=build.CHANNELS.keys())
def pair(request: pytest.FixtureRequest) -> tuple[Channel, Channel]:
    make: Callable[[], tuple[Channel, Channel]] = request.param
    return make()


def say(channel: Channel, messages: Sequence[bytes]) -> list[Pending]:
    """Start sending it all, whether it will be heard or not; gloo wants what is under way to be held on to."""
    return [channel.send(torch.frombuffer(bytearray(raw), dtype=torch.uint8)) for raw in messages]


def lie(channel: Channel, messages: Sequence[bytes]) -> object:
    """As a donor: hear the greeting, say all this, and hear what the recipient thinks of it, if it tells."""
    heard, under_way = None, []
    with contextlib.suppress(CheckpointHealError):
        receive_frame(channel, LONG)
        for part in (messages[:2], messages[2:]):
            under_way += say(channel, part)
            heard = receive_frame(channel, LONG)
            if not isinstance(heard, wire.Want):
                break
    return heard, under_way


def to_the_end(channel: Channel, act: Callable[[], object]) -> tuple[object, object]:
    """What came of it; the other side hears that it is over, in case that it waits."""
    try:
        outcome = act()
    except CheckpointHealError as error:
        outcome = error
    try:
        return outcome, say(channel, OVER)
    except CheckpointHealError:
        return outcome, None


def patience(errors: Sequence[type[CheckpointHealError]]) -> float:
    return SHORT if Overdue in errors else LONG


@pytest.mark.parametrize(("change", "errors"), LIES.values(), ids=LIES)
def test_a_lie_of_a_donor_is_found_named_and_not_loaded(
    pair: tuple[Channel, Channel],
    change: Callable[[Messages], Messages],
    errors: tuple[type[CheckpointHealError], ...],
) -> None:
    giving, taking = pair
    sink, terms = build.BytesSink(b"\xff" * len(build.DATA)), build.terms(patience(errors))
    (heard, _), (took, _) = build.side_by_side(
        lambda: lie(giving, change(GIVEN)),
        lambda: to_the_end(taking, lambda: recipient.take(taking, sink, build.EXPECTED, terms)),
    )
    assert type(took) in errors, took
    assert str(took)
    assert not sink.sealed
    assert all(bytes(sink.data)[i * build.CHUNK :][: build.CHUNK] == GIVEN[2 + i] for i in sink.kept)
    assert not isinstance(heard, wire.Receipt)


def test_the_truth_itself_is_taken(pair: tuple[Channel, Channel]) -> None:
    giving, taking = pair
    sink = build.BytesSink(b"\xff" * len(build.DATA))
    (heard, _), _ = build.side_by_side(
        lambda: lie(giving, GIVEN), lambda: recipient.take(taking, sink, build.EXPECTED, build.terms(LONG))
    )
    assert (heard, sink.sealed, bytes(sink.data)) == (RECEIPT, True, build.DATA)


ASKED = written(HELLO, builders_wire.a_want([0, COUNT]), RECEIPT)
ASKS: dict[str, tuple[Callable[[Messages], Messages], tuple[type[CheckpointHealError], ...]]] = {
    "another attempt": (
        lambda told: [*written(HELLO.model_copy(update={"attempt": 2})), *told[2:]],
        (Abandoned,),
    ),
    "another heal": (lambda told: [*written(HELLO.model_copy(update={"heal": "x"})), *told[2:]], (Abandoned,)),
    "a version to come": (
        lambda told: [*written(HELLO.model_copy(update={"spoken": (2, 3)})), *told[2:]],
        (UnknownVersion,),
    ),
    "a frame of another version": (at(2, lambda raw: raw[:4] + b"\2" + raw[5:]), (UnknownVersion,)),
    "a flipped bit in the magic": (at(0, lambda raw: flipped(raw, 3)), (BadFrame,)),
    "a flipped bit in the want": (at(3, lambda raw: flipped(raw, 8)), (BadFrame,)),
    "a truncated want": (at(3, lambda raw: raw[:-2]), (BadFrame, PeerLost)),
    "a want before the greeting": (lambda told: told[2:], (BadFrame,)),
    "a replayed greeting": (lambda told: [*told[:2], *told[:2], *told[2:]], (BadFrame,)),
    "a replayed want": (lambda told: [*told[:4], *told[2:4], *told[4:]], (BadFrame,)),
    "a chunk that is not there": (
        lambda told: [*told[:2], *written(builders_wire.a_want([0, COUNT + 1])), *told[4:]],
        (BadFrame,),
    ),
    "a receipt for another state": (
        lambda told: [*told[:4], *written(wire.Receipt(state_digest="0" * 32))],
        (BytesDiffer,),
    ),
    "a refusal": (
        lambda told: [*told[:2], *written(wire.Refuse(reason="SchemaDiffers", message="no"))],
        (PeerRefused,),
    ),
    "silence": (lambda told: [], (Overdue,)),
    "silence after the greeting": (lambda told: told[:2], (Overdue,)),
    "silence after the want": (lambda told: told[:4], (Overdue,)),
}
"""What a recipient says instead of what it should, and the errors that free its donor."""


def ask(channel: Channel, messages: Sequence[bytes]) -> object:
    """As a recipient: say all this, and take in whatever comes of it meanwhile."""
    under_way = say(channel, messages[:2])
    with contextlib.suppress(CheckpointHealError):
        if len(messages) > 2 and isinstance(receive_frame(channel, LONG), wire.Offer):
            under_way += say(channel, messages[2:4])
            for index in range(COUNT) if messages[2:4] == ASKED[2:4] else ():
                channel.receive(torch.empty(len(GIVEN[2 + index]), dtype=torch.uint8)).wait(LONG)
            under_way += say(channel, messages[4:])
    return under_way


@pytest.mark.parametrize(("change", "errors"), ASKS.values(), ids=ASKS)
def test_whatever_a_recipient_says_its_donor_is_free_in_its_own_time(
    pair: tuple[Channel, Channel],
    change: Callable[[Messages], Messages],
    errors: tuple[type[CheckpointHealError], ...],
) -> None:
    giving, taking = pair
    source, terms = build.BytesSource(), build.terms(patience(errors))
    (gave, _), _ = build.side_by_side(
        lambda: to_the_end(giving, lambda: donor.give(giving, source, build.OFFER, terms)),
        lambda: ask(taking, change(ASKED)),
    )
    assert type(gave) in errors, gave
    assert str(gave)
