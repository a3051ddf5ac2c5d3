"""One suite for every channel: what donor and recipient promise each other holds whatever carries the bytes."""

from collections.abc import Callable

import pytest

import builders_ends as build
from checkpointheal import donor, recipient
from checkpointheal.channel import Channel, receive_answer, receive_frame, send_frame
from checkpointheal.channel.loopback import LoopBack
from checkpointheal.errors import (
    Abandoned,
    ArenaDoesNotFit,
    BytesDiffer,
    CheckpointHealError,
    Overdue,
    PeerLost,
    PeerRefused,
    SlotDamaged,
    UnknownVersion,
)
from checkpointheal.session import Expected
from checkpointheal.wire import Frame, Hello, Refuse, framing

Pair = tuple[Channel, Channel]
COUNT = len(build.OFFER.chunks)


@pytest.fixture(params=build.CHANNELS.values(), ids=build.CHANNELS.keys())
def pair(request: pytest.FixtureRequest) -> Pair:
    make: Callable[[], Pair] = request.param
    return make()


def transfer(
    pair: Pair,
    sink: build.BytesSink,
    source: build.BytesSource | None = None,
    expected: Expected = build.EXPECTED,
) -> list[object]:
    """What came of it on the donor's side, and on the recipient's."""
    giving, taking = pair
    return build.side_by_side(
        lambda: donor.give(giving, source or build.BytesSource(), build.OFFER, build.terms()),
        lambda: recipient.take(taking, sink, expected, build.terms()),
    )


def test_the_whole_state_crosses(pair: Pair) -> None:
    sink = build.BytesSink()
    crossed, taken = transfer(pair, sink)
    assert bytes(sink.data) == build.DATA
    assert sink.sealed
    assert isinstance(taken, recipient.Taken)
    assert taken.offer == build.OFFER
    zeros = sum(build.CHUNK for i in range(COUNT) if not any(build.DATA[i * build.CHUNK :][: build.CHUNK]))
    assert crossed == taken.bytes == len(build.DATA) - zeros


@pytest.mark.parametrize("held", [range(COUNT), range(0, COUNT, 2), range(COUNT // 2), [COUNT - 1], [0]], ids=str)
def test_only_missing_chunks_cross(pair: Pair, held: range | list[int]) -> None:
    lying = bytearray(b"\xff" * len(build.DATA))
    for index in held:
        lying[index * build.CHUNK :][: build.CHUNK] = b""
        start, end = index * build.CHUNK, min((index + 1) * build.CHUNK, len(build.DATA))
        lying[start:end] = build.DATA[start:end]
    sink = build.BytesSink(bytes(lying))
    crossed, _ = transfer(pair, sink)
    assert sink.kept == [index for index in range(COUNT) if index not in held]
    assert crossed == sum(len(build.DATA[index * build.CHUNK :][: build.CHUNK]) for index in sink.kept)
    assert (bytes(sink.data), sink.sealed) == (build.DATA, True)


@pytest.mark.parametrize("bit", [0, 8 * build.CHUNK - 1, 8 * build.CHUNK, 8 * len(build.DATA) - 1])
def test_a_flipped_bit_is_found_and_the_next_donor_sends_that_chunk_alone(pair: Pair, bit: int) -> None:
    flipped = bytearray(build.DATA)
    flipped[bit // 8] ^= 1 << bit % 8
    sink = build.BytesSink(b"\xff" * len(build.DATA))
    gave, took = transfer(pair, sink, build.BytesSource(bytes(flipped)))
    assert isinstance(took, BytesDiffer)
    assert str(took) == f"1 chunks arrived with other bytes than were offered: {bit // 8 // build.CHUNK}"
    assert isinstance(gave, PeerRefused)
    assert (gave.refusal, sink.sealed) == ("BytesDiffer", False)
    crossed, _ = transfer(pair, sink)
    assert (bytes(sink.data), sink.sealed) == (build.DATA, True)
    assert crossed == len(build.DATA[bit // 8 // build.CHUNK * build.CHUNK :][: build.CHUNK])


@pytest.mark.parametrize(
    ("expected", "gave", "took"),
    [
        (Expected("heal", 2, build.OFFER.identity), Abandoned, PeerRefused),
        (Expected("heal", 4, build.OFFER.identity), Abandoned, PeerRefused),
        (Expected("other", 3, build.OFFER.identity), Abandoned, PeerRefused),
        (Expected("heal", 3, build.OFFER.identity.model_copy(update={"step": 8})), PeerRefused, Abandoned),
        (
            Expected("heal", 3, build.OFFER.identity.model_copy(update={"state_digest": "0" * 32})),
            PeerRefused,
            BytesDiffer,
        ),
    ],
    ids=["an older attempt", "a newer attempt", "another heal", "another step", "another state"],
)
def test_whoever_came_for_something_else_gets_nothing(
    pair: Pair, expected: Expected, gave: type[CheckpointHealError], took: type[CheckpointHealError]
) -> None:
    sink = build.BytesSink()
    outcomes = transfer(pair, sink, expected=expected)
    assert [type(outcome) for outcome in outcomes] == [gave, took]
    assert not sink.prepared, "nothing was touched"
    crossed, _ = transfer(pair, sink)
    assert (crossed, bytes(sink.data)) == (crossed, build.DATA), "the channel is as good as before"


def test_a_recipient_without_room_says_so(pair: Pair) -> None:
    gave, took = transfer(pair, build.BytesSink(refusal=ArenaDoesNotFit("no room")))
    assert isinstance(took, ArenaDoesNotFit)
    assert str(gave) == "ArenaDoesNotFit: no room"


def test_a_recipient_that_cannot_seal_says_so(pair: Pair) -> None:
    gave, took = transfer(pair, build.BytesSink(failure=ArenaDoesNotFit("the medium is full")))
    assert isinstance(took, ArenaDoesNotFit)
    assert str(gave) == "ArenaDoesNotFit: the medium is full"


def test_a_donor_that_has_nothing_declines(pair: Pair) -> None:
    giving, taking = pair
    _, took = build.side_by_side(
        lambda: donor.decline(giving, build.terms(), SlotDamaged("bytes have changed")),
        lambda: recipient.take(taking, build.BytesSink(), build.EXPECTED, build.terms()),
    )
    assert str(took) == "SlotDamaged: bytes have changed"


def test_a_peer_of_an_unknown_version_is_told(pair: Pair) -> None:
    giving, taking = pair

    def come_from_the_future() -> Frame:
        send_frame(taking, Hello(heal="heal", attempt=3, spoken=(2,)), 5)
        return receive_frame(taking, 5)

    gave, told = build.side_by_side(
        lambda: donor.give(giving, build.BytesSource(), build.OFFER, build.terms()), come_from_the_future
    )
    assert isinstance(gave, UnknownVersion)
    assert isinstance(told, Refuse)
    assert told.reason == "UnknownVersion"


@pytest.mark.parametrize("agreed", [1, 2])
def test_what_follows_an_offer_is_said_in_the_offers_version(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, agreed: int
) -> None:
    monkeypatch.setattr(framing, "SPOKEN", (2, 1))
    giving, taking = pair

    def give() -> list[tuple[str, int]]:
        receive_frame(giving, 5)
        send_frame(giving, build.OFFER, 5, agreed)
        heard = [receive_answer(giving, 5) for _ in range(2)]
        return [(type(frame).__name__, version) for frame, version in heard]

    said, _ = build.side_by_side(
        give, lambda: recipient.take(taking, build.BytesSink(build.DATA), build.EXPECTED, build.terms())
    )
    assert said == [("Want", agreed), ("Receipt", agreed)]


def test_a_refusal_that_nobody_hears_is_the_error_all_the_same(pair: Pair) -> None:
    giving, taking = pair
    gave, _ = build.side_by_side(
        lambda: donor.give(giving, build.BytesSource(), build.OFFER, build.terms(stall=0.2)),
        lambda: send_frame(taking, Hello(heal="heal", attempt=2, spoken=(1,)), 5),
    )
    assert isinstance(gave, Abandoned)


def test_a_silent_donor_is_overdue(pair: Pair) -> None:
    _, taking = pair
    with pytest.raises(Overdue):
        recipient.take(taking, build.BytesSink(), build.EXPECTED, build.terms(0.3))


def test_a_silent_recipient_is_overdue(pair: Pair) -> None:
    giving, _ = pair
    with pytest.raises(Overdue):
        donor.give(giving, build.BytesSource(), build.OFFER, build.terms(0.3))


class Hesitant(build.BytesSource):
    """Stops in the middle of a transfer."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self._act = act

    def parts(self, index: int):  # type: ignore[no-untyped-def]
        if index == COUNT // 2:
            self._act()
        return super().parts(index)


def test_a_donor_that_hangs_up_in_the_middle_leaves_verified_chunks_and_no_seal() -> None:
    giving, taking = LoopBack.pair()

    def hang_up() -> None:
        giving.close()
        raise PeerLost("gone")

    sink = build.BytesSink(b"\xff" * len(build.DATA))
    _, took = transfer((giving, taking), sink, Hesitant(hang_up))
    assert isinstance(took, PeerLost)
    assert (sink.kept, sink.sealed) == (list(range(COUNT // 2)), False)
    transfer(LoopBack.pair(), sink)
    assert sink.kept == list(range(COUNT)), "each chunk crossed once"
    assert (bytes(sink.data), sink.sealed) == (build.DATA, True)


def test_a_closed_end_sends_nothing_more() -> None:
    giving, _ = LoopBack.pair()
    giving.close()
    with pytest.raises(PeerLost):
        giving.send(build.BytesSource().parts(0)[0])
