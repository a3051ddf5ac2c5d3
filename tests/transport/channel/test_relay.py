"""A state is passed on while it arrives, and a relay that fails makes nobody believe anything, over every channel."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch

import builders_ends as build
from checkpointheal import digest, donor, recipient
from checkpointheal.channel import Channel
from checkpointheal.channel.beside import Beside
from checkpointheal.channel.loopback import LoopBack
from checkpointheal.channel.patient import Patient
from checkpointheal.contract.layout import Identity
from checkpointheal.ends.live import LiveSource, StagedSink
from checkpointheal.errors import (
    ArenaDoesNotFit,
    BytesDiffer,
    CheckpointHealError,
    Overdue,
    PeerLost,
    PeerRefused,
    SchemaDiffers,
)
from checkpointheal.lane import Peer
from checkpointheal.manifest import describe
from checkpointheal.relay import Relay, all_of
from checkpointheal.session import Expected
from checkpointheal.wire import Offer

Pair = tuple[Channel, Channel]
STATE = {"a": torch.arange(3000), "b": torch.arange(7.0), "c": torch.arange(500, dtype=torch.int16), "n": 3}
DESCRIBED = describe(STATE)
CHUNK = 1 << 10
EXPECTED = Expected("library", 1, None)


def an_offer(chunk_bytes: int = CHUNK) -> Offer:
    source = LiveSource(DESCRIBED, chunk_bytes)
    schema, chunks = digest.schema_digest(DESCRIBED.schema), source.digests()
    state = digest.state_digest(schema, DESCRIBED.values, chunks)
    return Offer(
        heal="library",
        attempt=1,
        identity=Identity(step=0, schema_digest=schema, state_digest=state),
        manifest=source.manifest,
        chunk_bytes=chunk_bytes,
        chunks=chunks,
    )


OFFER = an_offer()
COUNT = len(OFFER.chunks)


class Watched(LiveSource):
    """Counts its chunks, and acts before each."""

    def __init__(self, before: Callable[[int], None] = lambda _number: None) -> None:
        super().__init__(DESCRIBED, CHUNK)
        self._before, self.number = before, 0

    def parts(self, index: int) -> Sequence[torch.Tensor]:
        self._before(self.number)
        self.number += 1
        return super().parts(index)


def a_sink(refuses: CheckpointHealError | None = None) -> StagedSink:
    def fits(manifest: Any) -> range:
        if refuses is not None:
            raise refuses
        return range(len(manifest.schema_.regions))

    return StagedSink(fits)


def arrived(sink: StagedSink) -> bool:
    return all(torch.equal(ours, theirs) for ours, theirs in zip(sink.regions, DESCRIBED.regions, strict=True))


def first(channel: Channel, source: LiveSource | None = None, **terms: Any) -> Callable[[], Any]:
    return lambda: donor.give(channel, source or Watched(), OFFER, build.terms(**terms))


def last(channel: Channel, sink: StagedSink, **terms: Any) -> Callable[[], Any]:
    return lambda: recipient.take(channel, sink, EXPECTED, build.terms(**terms))


def receive(relay: Relay, channel: Channel, sink: StagedSink, **terms: Any) -> Callable[[], Any]:
    take = partial(recipient.take, channel, expected=EXPECTED, terms=build.terms(**terms))
    return lambda: relay.receive(lambda tapped: take(sink=tapped), sink)


def pass_on(relay: Relay, channel: Channel, whole: bool = False, **terms: Any) -> Callable[[], Any]:
    return lambda: relay.pass_on(Peer(9, Patient(channel, 9), build.terms(**terms), Beside(60)), whole=whole)


Chain = tuple[Pair, Pair]


@pytest.fixture(params=build.CHANNELS.values(), ids=build.CHANNELS.keys())
def chain(request: pytest.FixtureRequest) -> Chain:
    """The links from the donor to the relay, and from the relay to the last."""
    return request.param(), request.param()


def test_what_arrives_is_passed_on(chain: Chain) -> None:
    relay, middle, end = Relay(), a_sink(), a_sink()
    (top, upper), (lower, bottom) = chain
    gave, taken, missed, took = build.side_by_side(
        first(top), receive(relay, upper, middle), pass_on(relay, lower), last(bottom, end)
    )
    assert gave == taken.bytes == took.bytes == DESCRIBED.schema.data_bytes
    assert missed is None
    assert arrived(middle)
    assert arrived(end)
    assert took.offer == OFFER, "the very offer that was accepted"


def test_each_chunk_is_passed_on_while_the_next_arrives(chain: Chain) -> None:
    """The donor gives its last chunks only after the last rank has the first."""
    relay, middle, end, reached = Relay(), a_sink(), a_sink(), threading.Event()
    (top, upper), (lower, bottom) = chain
    in_time: list[bool] = []

    def wait(number: int) -> None:
        if number == COUNT - 1:
            in_time.append(reached.wait(20))

    outcomes = build.side_by_side(
        first(top, Watched(wait)),
        receive(relay, upper, middle),
        pass_on(relay, lower),
        last(bottom, end, progress=lambda done: reached.set() if done else None),
    )
    assert in_time == [True]
    assert not any(isinstance(outcome, Exception) for outcome in outcomes)
    assert arrived(end)


def test_a_donor_that_dies_in_the_middle_frees_the_whole_chain_and_nobody_believes_anything() -> None:
    relay, middle, end = Relay(), a_sink(), a_sink()
    (top, upper), (lower, bottom) = LoopBack.pair(), LoopBack.pair()

    def die(number: int) -> None:
        if number == COUNT // 2:
            top.close()
            raise PeerLost("gone")

    _, took, missed, last_took = build.side_by_side(
        first(top, Watched(die)), receive(relay, upper, middle), pass_on(relay, lower), last(bottom, end)
    )
    assert isinstance(took, PeerLost)
    assert isinstance(last_took, PeerRefused)
    assert str(last_took) == f"PeerLost: {took}", "the cause, not what came of it"
    assert isinstance(missed, PeerRefused)
    assert not arrived(end)


@pytest.mark.parametrize("whole", [False, True], ids=["by short messages", "by zeros"])
def test_a_relay_whose_donor_stalls_lets_the_next_rank_go(chain: Chain, whole: bool) -> None:
    """Before its donor goes on, and long before its own limit."""
    relay, middle, end, over = Relay(), a_sink(), a_sink(), threading.Event()
    (top, upper), (lower, bottom) = chain
    in_time: list[bool] = []

    def stall(number: int) -> None:
        if number == COUNT // 2:
            in_time.append(over.wait(15))

    def let_go() -> Any:
        outcome = build.side_by_side(last(bottom, end))[0]
        over.set()
        return outcome

    _, took, missed, last_took = build.side_by_side(
        first(top, Watched(stall), frame=2, stall=2),
        receive(relay, Patient(upper, 0), middle, stall=0.5),
        pass_on(relay, lower, whole),
        let_go,
    )
    assert in_time == [True]
    assert isinstance(took, Overdue)
    assert isinstance(last_took, PeerRefused | PeerLost)
    assert str(last_took) == f"Overdue: {took}", "the cause, even where the channel ended before the rest"
    assert isinstance(missed, PeerRefused | PeerLost)
    assert not arrived(end)


def test_a_relay_whose_chunks_have_no_room_for_a_reason_is_told_by_their_digests() -> None:
    """As one of an older build is, which gives no reasons."""
    relay, middle, end = Relay(), a_sink(), a_sink()
    (top, upper), (lower, bottom) = LoopBack.pair(), LoopBack.pair()

    def die(_number: int) -> None:
        top.close()
        raise PeerLost("gone")

    tiny = an_offer(chunk_bytes=32)
    source = Watched(die)
    *_, last_took = build.side_by_side(
        lambda: donor.give(top, source, tiny, build.terms()),
        receive(relay, upper, middle),
        pass_on(relay, lower),
        last(bottom, end),
    )
    assert isinstance(last_took, BytesDiffer)
    assert not arrived(end)


def test_a_state_that_does_not_fit_here_is_not_offered_to_the_next(chain: Chain) -> None:
    relay, end = Relay(), a_sink()
    (top, upper), (lower, bottom) = chain
    gave, took, missed, last_took = build.side_by_side(
        first(top), receive(relay, upper, a_sink(SchemaDiffers(()))), pass_on(relay, lower), last(bottom, end)
    )
    assert isinstance(took, SchemaDiffers)
    assert (gave.refusal, last_took.refusal, missed) == ("SchemaDiffers", "SchemaDiffers", None)


def test_a_state_that_does_not_fit_the_next_takes_nothing_from_what_is_received_here(chain: Chain) -> None:
    relay, middle = Relay(), a_sink()
    (top, upper), (lower, bottom) = chain
    gave, taken, missed, took = build.side_by_side(
        first(top),
        receive(relay, upper, middle),
        pass_on(relay, lower),
        last(bottom, a_sink(ArenaDoesNotFit("no room"))),
    )
    assert isinstance(took, ArenaDoesNotFit)
    assert str(missed) == "ArenaDoesNotFit: no room"
    assert gave == taken.bytes
    assert arrived(middle)


def test_a_next_rank_that_never_comes_takes_nothing_from_what_is_received_here(chain: Chain) -> None:
    relay, middle = Relay(), a_sink()
    (top, upper), (lower, _) = chain
    gave, taken, missed = build.side_by_side(
        first(top), receive(relay, upper, middle), pass_on(relay, lower, frame=0.3)
    )
    assert isinstance(missed, Overdue)
    assert gave == taken.bytes
    assert arrived(middle)


def test_an_error_that_is_none_of_ours_is_told_to_the_next_by_its_name() -> None:
    relay, (lower, bottom) = Relay(), LoopBack.pair()

    def break_down(_sink: object) -> Any:
        raise LookupError("no such model")

    with pytest.raises(LookupError):
        relay.receive(break_down, a_sink())
    missed, took = build.side_by_side(pass_on(relay, lower), last(bottom, a_sink()))
    assert missed is None
    assert str(took) == "Misuse: LookupError: no such model"


def test_who_passes_a_state_on_needs_all_of_it() -> None:
    assert list(all_of(lambda _manifest: [1])(OFFER.manifest)) == list(range(len(DESCRIBED.regions)))
    with pytest.raises(SchemaDiffers):
        all_of(a_sink(SchemaDiffers(()))._fits)(OFFER.manifest)
