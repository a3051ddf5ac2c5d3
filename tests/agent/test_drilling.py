"""An agent takes part in a drill while its trainer trains and nothing else is ordered, and lets go at once."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import builders_agent as build
from checkpointheal.agent.drilling import TRIES, Drilling, wanted
from checkpointheal.agent.errand import Ended, Errand, ErrandSays, Failed, Meeting
from checkpointheal.agent.giving import DRILL_BYTES, Giving
from checkpointheal.agent.porter import Arrival
from checkpointheal.agent.taking import Taking
from checkpointheal.arena import room
from checkpointheal.contract.orders import Drill, EpochOrder, Orders
from checkpointheal.contract.peer import Ask, Meet, No
from checkpointheal.contract.report import DrillFacts, TrainerFacts

TRAINS = TrainerFacts(state="training", incarnation="t1", epoch=3)
OPEN = EpochOrder(epoch=3, over=False)
MEET = Meet(store_port=4711, prefix="drill-1/1", total=0)
ENDED = Ended(
    bytes=100,
    total=100,
    hold_seconds=1,
    transfer_seconds=2,
    verify_seconds=3,
    step=9,
    state_digest=build.STATE.state_digest,
)
OVERTAKEN = Failed(reason="Overtaken", message="training wrote over step 7")


def a_drill(heal: str = "drill-1", **changes: object) -> Drill:
    """Replica 2 receives from replica 0."""
    return Drill(**dict(build.an_assignment(heal=heal))).model_copy(update=changes)


def ordered(drill: Drill | None = None, **changes: object) -> Orders:
    return Orders(revision=1, epoch=OPEN, drill=drill).model_copy(update=changes)


def test_a_drill_is_wanted_while_the_trainer_trains_in_an_epoch_that_stands() -> None:
    assert wanted(TRAINS, ordered(a_drill())) == a_drill()
    assert wanted(TRAINS, ordered()) is None


@pytest.mark.parametrize("state", ["absent", "starting", "waiting", "stopped", "done"])
def test_no_drill_is_wanted_while_the_trainer_does_anything_else(state: str) -> None:
    assert wanted(TRAINS.model_copy(update={"state": state}), ordered(a_drill())) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"assignment": build.an_assignment()},
        {"grants": (build.an_assignment(),)},
        {"epoch": EpochOrder(epoch=3, over=True)},
        {"epoch": None},
        {"withdrawn": True},
    ],
    ids=["it is to be healed", "it is to heal another", "its epoch is over", "it is in none", "it is left alone"],
)
def test_whatever_else_is_ordered_comes_first(changes: dict[str, object]) -> None:
    assert wanted(TRAINS, ordered(a_drill(), **changes)) is None


def test_an_agent_that_knows_no_drills_reads_the_same_orders_without_one() -> None:
    class Older(Orders):
        """As an older build has them."""

    del Older.model_fields["drill"]
    Older.model_rebuild(force=True)
    read = Older.model_validate_json(ordered(a_drill()).model_dump_json())
    assert (read.assignment, read.grants, read.epoch) == (None, (), OPEN)


class Peers:
    """Every donor meets."""

    async def ask(self, _donor: object, _ask: Ask) -> Meet:
        return MEET


class Shelf:
    """Holds nothing of what is asked for."""

    def slot_of(self, _identity: object) -> None:
        return None


class Wing:
    """An agent's part in drills."""

    def __init__(self, arena: Path, transfers: build.Transfers, replica: int) -> None:
        settings, moving = build.some_settings(arena, replica), transfers
        peers: Any = Peers()
        shelf: Any = Shelf()
        anything: Any = moving
        self.giving = Giving(settings, shelf, anything, lambda: None)
        self.drilling = Drilling(settings.pod_uid, Taking(settings, peers, anything, lambda: None), self.giving)

    @property
    def facts(self) -> DrillFacts:
        assert self.drilling.facts is not None
        return self.drilling.facts


def told(
    arena: Path, transfers: build.Transfers, act: Callable[[Wing], Awaitable[None]], replica: int = 2
) -> build.Transfers:
    async def story() -> None:
        wing = Wing(arena, transfers, replica)
        await act(wing)
        wing.drilling.close()
        await asyncio.sleep(0)

    asyncio.run(story())
    return transfers


async def once(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0)


def test_the_recipient_receives_verifies_and_says_what_came(tmp_path: Path) -> None:
    async def act(wing: Wing) -> None:
        wing.drilling.follow(TRAINS, ordered(a_drill()))
        await once(lambda: wing.drilling.facts is not None and wing.facts.state == "verified")
        assert (wing.facts.heal, wing.facts.donor, wing.facts.step) == ("drill-1", "trainer-0", 9)
        assert wing.facts.state_digest == build.STATE.state_digest
        assert (wing.facts.hold_seconds, wing.facts.transfer_seconds, wing.facts.verify_seconds) == (1, 2, 3)

    transfers = told(tmp_path, build.Transfers(ENDED), act)
    (errand,) = transfers.errands
    assert (errand.side, errand.drill, errand.stands_back, errand.heal) == ("recipient", True, True, "drill-1")


def test_a_drill_is_carried_out_once_however_often_it_is_ordered(tmp_path: Path) -> None:
    async def act(wing: Wing) -> None:
        for _ in range(3):
            wing.drilling.follow(TRAINS, ordered(a_drill()))
            await once(lambda: wing.drilling.facts is not None and wing.facts.state == "verified")
        wing.drilling.follow(TRAINS, ordered())
        wing.drilling.follow(TRAINS, ordered(a_drill()))
        await asyncio.sleep(0)

    assert len(told(tmp_path, build.Transfers(ENDED), act).errands) == 1


def test_the_next_drill_is_another_one(tmp_path: Path) -> None:
    async def act(wing: Wing) -> None:
        for name in ("drill-1", "drill-2"):
            wing.drilling.follow(TRAINS, ordered(a_drill(name)))
            await once(
                lambda name=name: (
                    wing.drilling.facts is not None and (wing.facts.heal, wing.facts.state) == (name, "verified")
                )
            )

    assert [errand.heal for errand in told(tmp_path, build.Transfers(ENDED), act).errands] == ["drill-1", "drill-2"]


def test_a_drill_that_training_overtakes_is_tried_again_with_a_newer_state_and_not_for_ever(tmp_path: Path) -> None:
    async def act(wing: Wing) -> None:
        wing.drilling.follow(TRAINS, ordered(a_drill()))
        await once(lambda: len(transfers.errands) == TRIES and wing.facts.state == "failed")
        await asyncio.sleep(0)
        assert (wing.facts.reason, wing.facts.message) == ("Overtaken", "training wrote over step 7")

    transfers = build.Transfers(OVERTAKEN)
    told(tmp_path, transfers, act)
    assert len(transfers.errands) == TRIES


def test_a_drill_is_not_tried_again_where_that_would_be_overdue(tmp_path: Path) -> None:
    class Slow(build.Transfers):
        """A minute passes in each."""

        async def run(self, errand: Errand, arrival: Arrival | None = None) -> AsyncGenerator[ErrandSays]:
            loop = asyncio.get_running_loop()
            real = loop.time
            loop.time = lambda: real() + 60  # type: ignore[method-assign]
            async for said in super().run(errand, arrival):
                yield said

    async def act(wing: Wing) -> None:
        wing.drilling.follow(TRAINS, ordered(a_drill(deadline=100)))
        await once(lambda: wing.drilling.facts is not None and wing.facts.state == "failed")
        await asyncio.sleep(0)
        assert wing.facts.reason == "Overtaken"

    assert len(told(tmp_path, Slow(OVERTAKEN), act).errands) == 1


def test_any_other_failure_is_told_at_once(tmp_path: Path) -> None:
    async def act(wing: Wing) -> None:
        wing.drilling.follow(TRAINS, ordered(a_drill()))
        await once(lambda: wing.drilling.facts is not None and wing.facts.state == "failed")
        assert wing.facts.reason == "BytesDiffer"

    assert len(told(tmp_path, build.Transfers(Failed(reason="BytesDiffer", message="no")), act).errands) == 1


@pytest.mark.parametrize(
    ("trainer", "changes"),
    [
        (TRAINS, {"assignment": build.an_assignment()}),
        (TRAINS, {"epoch": EpochOrder(epoch=3, over=True)}),
        (TRAINS.model_copy(update={"state": "waiting"}), {}),
    ],
    ids=["a heal of its own", "the epoch is over", "its trainer waits"],
)
def test_the_recipient_lets_go_at_once_when_something_matters_more(
    tmp_path: Path, trainer: TrainerFacts, changes: dict[str, object]
) -> None:
    async def act(wing: Wing) -> None:
        wing.drilling.follow(TRAINS, ordered(a_drill()))
        await once(lambda: len(transfers.errands) == 1)
        wing.drilling.follow(trainer, ordered(a_drill(), **changes))
        await once(lambda: transfers.ended == 1)
        assert (wing.facts.state, wing.facts.reason) == ("failed", "Abandoned")

    transfers = build.Transfers(ends=False)
    told(tmp_path, transfers, act)


def test_a_drill_ends_with_its_agent(tmp_path: Path) -> None:
    async def act(wing: Wing) -> None:
        wing.drilling.follow(TRAINS, ordered(a_drill()))
        await once(lambda: len(transfers.errands) == 1)
        wing.drilling.close()
        await once(lambda: transfers.ended == 1)
        assert (wing.facts.state, wing.facts.reason) == ("failed", "Abandoned")

    transfers = build.Transfers(ends=False)
    told(tmp_path, transfers, act)


def test_a_drill_ends_at_its_deadline(tmp_path: Path) -> None:
    async def act(wing: Wing) -> None:
        wing.drilling.follow(TRAINS, ordered(a_drill(deadline=0)))
        await once(lambda: wing.drilling.facts is not None and wing.facts.state == "failed")
        assert wing.facts.reason == "Overdue"

    told(tmp_path, build.Transfers(ends=False), act)


def test_without_memory_to_spare_the_recipient_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_memory_left", lambda **_: DRILL_BYTES - 1)

    async def act(wing: Wing) -> None:
        wing.drilling.follow(TRAINS, ordered(a_drill()))
        await once(lambda: wing.drilling.facts is not None and wing.facts.state == "failed")
        assert wing.facts.reason == "NoRoomForDrill"
        assert f"the agent has {DRILL_BYTES - 1} to spare" in wing.facts.message

    assert told(tmp_path, build.Transfers(ENDED), act).errands == []


def ask(drill: Drill) -> Ask:
    return Ask(heal=drill.heal, attempt=1, recipient_uid=drill.recipient.pod_uid, **build.STATE.model_dump())


def test_the_donor_gives_whatever_it_holds_by_now_and_pins_no_slot(tmp_path: Path) -> None:
    async def act(wing: Wing) -> None:
        wing.drilling.follow(TRAINS, ordered(a_drill(bytes_per_second=1000)))
        assert await wing.giving.answer(ask(a_drill())) == MEET
        (errand,) = transfers.errands
        assert (errand.side, errand.drill, errand.slot, errand.bytes_per_second) == ("donor", True, None, 1000)
        assert errand.stands_back
        assert wing.drilling.facts is None
        wing.drilling.follow(TRAINS, ordered())
        await once(lambda: transfers.ended == 1)

    transfers = build.Transfers(Meeting(store_port=4711), ends=False)
    told(tmp_path, transfers, act, replica=0)


@pytest.mark.parametrize(
    ("trainer", "changes"),
    [
        (TRAINS, {"grants": (build.an_assignment(),)}),
        (TRAINS, {"epoch": EpochOrder(epoch=3, over=True)}),
        (TRAINS.model_copy(update={"state": "absent"}), {}),
    ],
    ids=["it is to heal another", "the epoch is over", "its trainer ended"],
)
def test_the_donor_lets_go_at_once_when_something_matters_more(
    tmp_path: Path, trainer: TrainerFacts, changes: dict[str, object]
) -> None:
    async def act(wing: Wing) -> None:
        wing.drilling.follow(TRAINS, ordered(a_drill()))
        assert isinstance(await wing.giving.answer(ask(a_drill())), Meet)
        wing.drilling.follow(trainer, ordered(a_drill(), **changes))
        await once(lambda: transfers.ended == 1)

    transfers = build.Transfers(Meeting(store_port=4711), ends=False)
    told(tmp_path, transfers, act, replica=0)


def test_grants_that_come_and_go_leave_a_drill_alone_and_a_drill_leaves_them(tmp_path: Path) -> None:
    async def act(wing: Wing) -> None:
        wing.drilling.follow(TRAINS, ordered(a_drill()))
        await wing.giving.answer(ask(a_drill()))
        await wing.giving.take_grants(())
        assert wing.giving.serving == ("drill-1",)
        assert transfers.ended == 0

    transfers = build.Transfers(Meeting(store_port=4711), ends=False)
    told(tmp_path, transfers, act, replica=0)


def test_without_memory_to_spare_the_donor_says_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_memory_left", lambda **_: DRILL_BYTES - 1)

    async def act(wing: Wing) -> None:
        wing.drilling.follow(TRAINS, ordered(a_drill()))
        said = await wing.giving.answer(ask(a_drill()))
        assert isinstance(said, No)
        assert said.reason == "NoRoomForDrill"

    assert told(tmp_path, build.Transfers(Meeting(store_port=4711)), act, replica=0).errands == []


def test_a_drill_is_no_grant_for_anybody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkpointheal.agent.giving.GRANT_SECONDS", 0)

    async def act(wing: Wing) -> None:
        wing.drilling.follow(TRAINS, ordered(a_drill()))
        for change in ({"recipient_uid": "somebody"}, {"heal": "heal-1"}):
            said = await wing.giving.answer(ask(a_drill()).model_copy(update=change))
            assert isinstance(said, No)
            assert said.reason == "NoGrant"

    assert told(tmp_path, build.Transfers(Meeting(store_port=4711)), act, replica=0).errands == []
