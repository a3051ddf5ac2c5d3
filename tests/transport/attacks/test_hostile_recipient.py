"""A recipient that lies gets nothing that it was not offered, and frees its donor all the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as any_

import builders_ends as build
import builders_wire
from checkpointheal import donor, wire
from checkpointheal.channel import send_frame
from checkpointheal.channel.channel import Channel
from checkpointheal.channel.loopback import LoopBack
from checkpointheal.errors import Abandoned, BadFrame, BytesDiffer, CheckpointHealError, UnknownVersion

HELLO = wire.Hello(heal="heal", attempt=3, spoken=(1,))
COUNT = len(build.OFFER.chunks)
RECEIPT = wire.Receipt(state_digest=build.OFFER.identity.state_digest)


class Counting:
    """A channel that knows how many bytes of the state left through it."""

    def __init__(self, channel: Channel) -> None:
        self._channel, self.chunks = channel, 0
        self.receive, self.close = channel.receive, channel.close

    def send(self, buffer):  # type: ignore[no-untyped-def]
        self.chunks += buffer.numel() == build.CHUNK
        return self._channel.send(buffer)


def served(*frames: wire.Frame) -> tuple[object, int]:
    """What a donor makes of these frames, after which the recipient hangs up; and how many chunks it sent."""
    giving, taking = LoopBack.pair()
    for frame in frames:
        send_frame(taking, frame, 1)
    taking.close()
    counting = Counting(giving)
    try:
        return donor.give(counting, build.BytesSource(), build.OFFER, build.terms(5)), counting.chunks
    except CheckpointHealError as error:
        return error, counting.chunks


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ((builders_wire.a_want([0, 1]),), BadFrame),
        ((RECEIPT,), BadFrame),
        ((HELLO, RECEIPT), BadFrame),
        ((HELLO, HELLO), BadFrame),
        ((HELLO, build.OFFER), BadFrame),
        ((HELLO, builders_wire.a_want([0, COUNT + 1])), BadFrame),
        ((HELLO, builders_wire.a_want([1 << 50, 1 << 52])), BadFrame),
        ((HELLO, builders_wire.a_want(), builders_wire.a_want([COUNT, COUNT + 1])), BadFrame),
        ((HELLO.model_copy(update={"attempt": 2}), builders_wire.a_want([0, 1])), Abandoned),
        ((HELLO.model_copy(update={"spoken": (9,)}), builders_wire.a_want([0, 1])), UnknownVersion),
    ],
    ids=[
        "wants without a greeting",
        "thanks for nothing",
        "thanks before it wants",
        "greets twice",
        "offers",
        "wants a chunk too many",
        "wants chunks without end",
        "wants a chunk that does not exist after all that there are",
        "an old attempt",
        "another version",
    ],
)
def test_no_chunk_leaves_for_who_breaks_the_order(
    frames: tuple[wire.Frame, ...], error: type[CheckpointHealError]
) -> None:
    outcome, chunks = served(*frames)
    assert (type(outcome), chunks) == (error, 0)


def test_a_false_receipt_is_not_a_success() -> None:
    outcome, _ = served(HELLO, builders_wire.a_want(), wire.Receipt(state_digest="0" * 32))
    assert isinstance(outcome, BytesDiffer)


@given(
    any_.lists(
        any_.sampled_from([HELLO, RECEIPT, build.OFFER, builders_wire.a_want([0, 3]), builders_wire.a_want()]),
        max_size=4,
    )
)
def test_only_the_one_lawful_order_frees_a_donor_without_an_error(frames: list[wire.Frame]) -> None:
    outcome, _ = served(*frames)
    until = frames.index(RECEIPT) if RECEIPT in frames else 0
    wanted = frames[1:until]
    lawful = bool(wanted) and frames[0] == HELLO and all(isinstance(frame, wire.Want) for frame in wanted)
    twice = wanted.count(builders_wire.a_want([0, 3])) > 1
    assert isinstance(outcome, int) is (lawful and not twice)


def test_no_recipient_gets_more_bytes_than_there_are() -> None:
    outcome, chunks = served(HELLO, builders_wire.a_want([0, 3]), builders_wire.a_want([2, 4]), RECEIPT)
    assert str(outcome) == "chunk 2 is wanted a second time"
    assert chunks <= 3
