"""Several donors give one state, whatever carries the bytes and whoever of them fails."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch

import builders_ends as build
import builders_wire
from checkpointheal import digest, donor, several
from checkpointheal.channel import Channel, receive_answer, receive_frame, send_frame
from checkpointheal.channel.beside import Beside
from checkpointheal.channel.loopback import LoopBack
from checkpointheal.channel.patient import Patient
from checkpointheal.ends import Source
from checkpointheal.errors import (
    Abandoned,
    ArenaDoesNotFit,
    BytesDiffer,
    CheckpointHealError,
    DonorsDisagree,
    Overdue,
    PeerLost,
    PeerRefused,
    SlotDamaged,
)
from checkpointheal.lane import Lane, Peer
from checkpointheal.session import Expected
from checkpointheal.wire import Hello, Offer, Refuse, Want, framing

Pair = tuple[Channel, Channel]
COUNT = len(build.OFFER.chunks)
ANY = Expected(builders_wire.HEAL, builders_wire.ATTEMPT, None)
OTHER_DATA = bytes(byte ^ 1 for byte in build.DATA)
SHORT = 0.5
"""A stall limit that is to pass."""
NOTHING: Mapping[int, Mapping[str, float]] = {}


def offer_of(data: bytes) -> Offer:
    chunks = digest.chunk_digests(data, build.CHUNK)
    schema = build.OFFER.identity.schema_digest
    state = digest.state_digest(schema, (), chunks)
    identity = build.OFFER.identity.model_copy(update={"state_digest": state})
    return build.OFFER.model_copy(update={"chunks": chunks, "identity": identity})


OTHER = offer_of(OTHER_DATA)


class Counting(build.BytesSource):
    """Tells which chunks were given, and acts before each if told to."""

    def __init__(self, data: bytes = build.DATA, before: Callable[[int], None] = lambda _given: None) -> None:
        super().__init__(data)
        self.given: list[int] = []
        self._before = before

    def parts(self, index: int) -> Sequence[torch.Tensor]:
        self._before(len(self.given))
        self.given.append(index)
        return super().parts(index)


def giving(channel: Channel, source: Source | None = None, offer: Offer = build.OFFER, **terms: Any) -> Any:
    return lambda: donor.give(channel, source or build.BytesSource(), offer, build.terms(**terms))


class Table:
    """One recipient and a channel to each donor; donor i is rank i."""

    def __init__(self, pairs: list[Pair]) -> None:
        self.donors = [pair[0] for pair in pairs]
        self._channels = [pair[1] for pair in pairs]
        self.lanes: dict[int, Lane] = {}
        self.sink = build.BytesSink(b"\xff" * len(build.DATA))
        self.brought = dict.fromkeys(range(len(pairs)), 0)

    def take(
        self, sink: build.BytesSink | None = None, besides: Mapping[int, Mapping[str, float]] = NOTHING, **terms: Any
    ) -> Any:
        """`besides`: terms for some of the donors alone."""
        peers = [
            Peer(
                rank,
                Patient(channel, rank),
                build.terms(**{"progress": self.progress(rank), **terms, **besides.get(rank, {})}),
                Beside(60),
            )
            for rank, channel in enumerate(self._channels)
        ]
        return several.take(peers, sink or self.sink, ANY, self.lanes)

    def error(self, rank: int) -> Exception | None:
        """What lost this donor: its lane may end after the transfer, and after the donor has heard why."""
        self.lanes[rank].thread.join(20)
        assert not self.lanes[rank].thread.is_alive()
        return self.lanes[rank].error

    def progress(self, rank: int) -> Callable[[int], None]:
        def tell(done: int) -> None:
            self.brought[rank] = done

        return tell

    def whole(self) -> bool:
        return (bytes(self.sink.data), self.sink.sealed) == (build.DATA, True)


def a_table(donors: int, make: Callable[[], Pair] = LoopBack.pair) -> Table:
    return Table([make() for _ in range(donors)])


@pytest.fixture(params=build.CHANNELS.values(), ids=build.CHANNELS.keys())
def table(request: pytest.FixtureRequest) -> Table:
    """Three donors over every kind of channel."""
    return a_table(3, request.param)


def test_each_of_several_donors_gives_a_part_and_every_chunk_counts_once(table: Table) -> None:
    *gave, taken = build.side_by_side(*[giving(each) for each in table.donors], table.take)
    assert table.whole()
    assert (taken.offer, taken.bytes) == (build.OFFER, len(build.DATA))
    assert sorted(table.sink.kept) == list(range(COUNT))
    assert all(isinstance(crossed, int) for crossed in gave), "everybody was thanked"
    assert sum(table.brought.values()) == len(build.DATA)


def test_only_what_lacks_is_asked_for(table: Table) -> None:
    held = bytearray(build.DATA)
    held[: 2 * build.CHUNK] = b"\xff" * (2 * build.CHUNK)
    table.sink = build.BytesSink(bytes(held))
    *_, taken = build.side_by_side(*[giving(each) for each in table.donors], table.take)
    assert table.whole()
    assert (sorted(table.sink.kept), taken.bytes) == ([0, 1], 2 * build.CHUNK)


def test_of_a_state_that_lies_here_already_nothing_crosses_and_all_are_thanked(table: Table) -> None:
    table.sink = build.BytesSink(build.DATA)
    *gave, taken = build.side_by_side(*[giving(each) for each in table.donors], table.take)
    assert table.whole()
    assert [*gave, taken.bytes] == [0, 0, 0, 0]


def test_the_minority_is_refused_by_name_and_not_a_byte_of_it_crosses(table: Table) -> None:
    wrong = Counting(OTHER_DATA)
    *gave, _ = build.side_by_side(
        giving(table.donors[0]), giving(table.donors[1], wrong, OTHER), giving(table.donors[2]), table.take
    )
    assert table.whole()
    assert isinstance(gave[1], PeerRefused)
    assert str(gave[1]).startswith("BytesDiffer: rank 1 holds schema")
    assert (wrong.given, isinstance(table.error(1), BytesDiffer)) == ([], True)
    assert isinstance(gave[0], int)
    assert isinstance(gave[2], int)


def test_where_no_majority_holds_the_same_all_are_refused_and_nothing_is_touched() -> None:
    table, sources = a_table(2), [Counting(), Counting(OTHER_DATA)]
    *gave, took = build.side_by_side(
        giving(table.donors[0], sources[0]), giving(table.donors[1], sources[1], OTHER), table.take
    )
    assert isinstance(took, DonorsDisagree)
    assert "rank 0: schema" in str(took)
    assert [each.refusal for each in gave] == ["DonorsDisagree", "DonorsDisagree"]
    assert [source.given for source in sources] == [[], []]
    assert not table.sink.prepared


def test_a_target_that_the_state_does_not_fit_refuses_every_donor(table: Table) -> None:
    refusing = build.BytesSink(refusal=ArenaDoesNotFit("no room"))
    *gave, took = build.side_by_side(*[giving(each) for each in table.donors], lambda: table.take(refusing))
    assert isinstance(took, ArenaDoesNotFit)
    assert [str(each) for each in gave] == ["ArenaDoesNotFit: no room"] * 3


def test_a_state_that_cannot_be_sealed_is_thanked_for_by_nobody(table: Table) -> None:
    failing = build.BytesSink(failure=ArenaDoesNotFit("the medium is full"))
    *gave, took = build.side_by_side(*[giving(each) for each in table.donors], lambda: table.take(failing))
    assert isinstance(took, ArenaDoesNotFit)
    assert [str(each) for each in gave] == ["ArenaDoesNotFit: the medium is full"] * 3


def test_a_donor_that_gives_other_bytes_than_it_offered_is_refused_and_others_give_them(table: Table) -> None:
    lied = threading.Event()
    honest = [Counting(before=lambda _given: lied.wait(20) and None) for _ in range(2)]
    lying = Counting(OTHER_DATA, before=lambda _given: lied.set())
    gave = build.side_by_side(
        *[giving(each, source) for each, source in zip(table.donors, (lying, *honest), strict=True)], table.take
    )
    assert table.whole()
    assert gave[0].refusal == "BytesDiffer"
    assert str(table.error(0)).startswith("rank 0: ")
    assert table.brought[0] == 0
    assert all(isinstance(each, int) for each in gave[1:3])


def test_where_every_donor_lies_nothing_counts(table: Table) -> None:
    *gave, took = build.side_by_side(*[giving(each, Counting(OTHER_DATA)) for each in table.donors], table.take)
    assert isinstance(took, BytesDiffer)
    assert all(isinstance(each, PeerRefused) for each in gave)
    assert not table.sink.sealed
    assert table.sink.kept == []


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_donor_that_hangs_up_costs_only_what_it_owes(after: int) -> None:
    table = a_table(2)

    def hang_up(given: int) -> None:
        if given == after:
            table.donors[0].close()
            raise PeerLost("gone")

    *gave, _ = build.side_by_side(
        giving(table.donors[0], Counting(before=hang_up)), giving(table.donors[1]), table.take
    )
    assert table.whole()
    assert sorted(table.sink.kept) == list(range(COUNT)), "each counted once"
    assert isinstance(gave[0], PeerLost)
    assert isinstance(gave[1], int)


def test_where_no_donor_is_left_the_first_ones_error_is_raised() -> None:
    table = a_table(2)

    def hang_up(rank: int) -> Callable[[int], None]:
        def act(given: int) -> None:
            if given == 1:
                table.donors[rank].close()
                raise PeerLost(f"donor {rank}")

        return act

    *_, took = build.side_by_side(
        *[giving(table.donors[rank], Counting(before=hang_up(rank))) for rank in range(2)], table.take
    )
    assert isinstance(took, PeerLost)
    assert took is table.error(0)
    assert not table.sink.sealed


def test_a_donor_that_stands_still_holds_nobody_up_and_is_thanked_once_it_goes_on(table: Table) -> None:
    goes_on = threading.Event()

    def stand_still(given: int) -> None:
        if given == 1:
            goes_on.wait(20)

    def take() -> Any:
        taken = table.take()
        goes_on.set()
        return taken

    *gave, _ = build.side_by_side(
        giving(table.donors[0], Counting(before=stand_still)), *[giving(each) for each in table.donors[1:]], take
    )
    assert table.whole()
    assert all(isinstance(each, int) for each in gave), "the slow one, too"


def test_a_donor_that_never_answers_is_given_up(table: Table) -> None:
    first, second, _ = table.donors
    *gave, _ = build.side_by_side(
        giving(first),
        giving(second, Counting(OTHER_DATA), OTHER),
        lambda: _ends_in(DonorsDisagree, lambda: table.take(besides={2: {"frame": SHORT}})),
    )
    assert [each.refusal for each in gave] == ["DonorsDisagree"] * 2
    assert isinstance(table.error(2), Overdue)


def test_each_donor_is_answered_in_the_version_of_its_offer(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "SPOKEN", (2, 1))
    have_heard = threading.Barrier(3, timeout=20)

    def listen(channel: Channel, offer: Offer, version: int) -> set[int]:
        receive_frame(channel, 20)
        send_frame(channel, offer, 20, version)
        heard = [receive_answer(channel, 20)]
        have_heard.wait()
        while isinstance(heard[-1][0], Want):
            heard.append(receive_answer(channel, 20))
        return {spoken for frame, spoken in heard if isinstance(frame, Want)}

    def decline() -> None:
        have_heard.wait()
        donor.decline(table.donors[2], build.terms(), SlotDamaged("bytes have changed"))

    *heard, _, _ = build.side_by_side(
        lambda: listen(table.donors[0], build.OFFER, 2),
        lambda: listen(table.donors[1], OTHER, 1),
        decline,
        lambda: _ends_in(DonorsDisagree, lambda: table.take(stall=4 * SHORT)),
    )
    assert heard == [{2}, {1}]


def test_while_one_is_silent_the_others_hear_signs_of_life(table: Table) -> None:
    """It says that it has nothing once they have heard three each."""
    patient = threading.Barrier(3, timeout=20)

    def listen(channel: Channel, offer: Offer) -> Any:
        receive_frame(channel, 20)
        send_frame(channel, offer, 20)
        signs = [receive_frame(channel, 20) for _ in range(3)]
        patient.wait()
        while isinstance(frame := receive_frame(channel, 20), Want):
            signs.append(frame)
        return {sign.ranges for sign in signs}, frame.reason

    def decline() -> None:
        patient.wait()
        donor.decline(table.donors[2], build.terms(), SlotDamaged("bytes have changed"))

    *heard, _, _ = build.side_by_side(
        lambda: listen(table.donors[0], build.OFFER),
        lambda: listen(table.donors[1], OTHER),
        decline,
        lambda: _ends_in(DonorsDisagree, lambda: table.take(stall=4 * SHORT)),
    )
    assert heard == [({()}, "DonorsDisagree")] * 2


def _ends_in(error: type[CheckpointHealError], act: Callable[[], Any]) -> None:
    with pytest.raises(error):
        act()


def test_a_majority_need_not_wait_for_a_donor_that_never_answers(table: Table) -> None:
    build.side_by_side(*[giving(each) for each in table.donors[:2]], table.take)
    assert table.whole()
    assert table.lanes[2].thread.is_alive()


def test_a_donor_that_comes_late_joins_if_it_holds_the_same(table: Table) -> None:
    """It comes once the others wait for it, and it alone can bring the rest."""
    late = threading.Event()

    def until_it_came(given: int) -> None:
        if given == 1:
            late.set()
            raise PeerLost("gone")

    def give_late() -> Any:
        late.wait(20)
        return giving(table.donors[2])()

    *gave, _ = build.side_by_side(
        *[giving(each, Counting(before=until_it_came)) for each in table.donors[:2]],
        give_late,
        lambda: table.take(besides={rank: {"stall": SHORT} for rank in (0, 1)}),
    )
    assert table.whole()
    assert isinstance(gave[2], int)


def test_a_donor_that_has_nothing_is_no_voter(table: Table) -> None:
    *_, taken = build.side_by_side(
        *[giving(each) for each in table.donors[:2]],
        lambda: donor.decline(table.donors[2], build.terms(), SlotDamaged("bytes have changed")),
        table.take,
    )
    assert table.whole()
    assert taken.offer == build.OFFER
    assert str(table.error(2)) == "SlotDamaged: bytes have changed"


def test_a_donor_of_another_attempt_is_told_so_and_is_no_voter(table: Table) -> None:
    def offer_another() -> Any:
        assert isinstance(receive_frame(table.donors[2], 20), Hello)
        send_frame(table.donors[2], build.OFFER.model_copy(update={"attempt": 9}), 20)
        return receive_frame(table.donors[2], 20)

    *_, told, _ = build.side_by_side(*[giving(each) for each in table.donors[:2]], offer_another, table.take)
    assert table.whole()
    assert isinstance(told, Refuse)
    assert told.reason == "Abandoned"


def test_who_watches_may_end_it_and_every_donor_is_told() -> None:
    table = a_table(2)

    def leave(_done: int) -> None:
        raise Abandoned("the transfer was cancelled here")

    *gave, took = build.side_by_side(*[giving(each) for each in table.donors], lambda: table.take(progress=leave))
    assert isinstance(took, Abandoned)
    assert [each.refusal for each in gave] == ["Abandoned", "Abandoned"]
    assert not table.sink.sealed


def test_an_error_of_who_watches_is_raised_as_it_is() -> None:
    table = a_table(2)

    def break_down(_done: int) -> None:
        raise LookupError("no such bar")

    gave = build.side_by_side(
        *[giving(each) for each in table.donors],
        lambda: _breaks_down(LookupError("no such bar"), lambda: table.take(progress=break_down)),
    )
    assert [each.refusal for each in gave[:2]] == ["LookupError", "LookupError"]


def _breaks_down(error: Exception, act: Callable[[], Any]) -> None:
    with pytest.raises(type(error), match=str(error)):
        act()


def test_a_sink_that_breaks_in_the_middle_ends_it_for_all() -> None:
    class Breaking(build.BytesSink):
        def keep(self, index: int) -> None:
            raise ArenaDoesNotFit("the medium is full")

    table = a_table(2)
    *gave, took = build.side_by_side(*[giving(each) for each in table.donors], lambda: table.take(Breaking()))
    assert isinstance(took, ArenaDoesNotFit)
    assert [each.refusal for each in gave] == ["ArenaDoesNotFit", "ArenaDoesNotFit"]


@pytest.mark.parametrize("which", [0, COUNT - 1])
def test_one_chunk_that_the_target_cannot_take_ends_it_for_all_whichever_it_is(which: int) -> None:
    broken = RuntimeError("the device is out of memory")

    class BreakingOnce(build.BytesSink):
        def keep(self, index: int) -> None:
            if index == which:
                raise broken

    table, sink = a_table(2), BreakingOnce()
    gave = build.side_by_side(
        *[giving(each) for each in table.donors], lambda: _breaks_down(broken, lambda: table.take(sink))
    )
    assert [each.refusal for each in gave[:2]] == ["RuntimeError", "RuntimeError"]
    assert not sink.sealed


@pytest.mark.parametrize("donors", [1, 2, 4, 7])
def test_any_number_of_donors_will_do(donors: int) -> None:
    table = a_table(donors)
    *gave, _ = build.side_by_side(*[giving(each) for each in table.donors], table.take)
    assert table.whole()
    assert all(isinstance(each, int) for each in gave)
