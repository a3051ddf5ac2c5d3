"""A donor gives what the operator granted, to whom it was granted, and nothing else."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import builders_agent as build
from checkpointheal.agent import giving as room
from checkpointheal.agent.errand import Failed, Meeting, Secured
from checkpointheal.agent.giving import Giving
from checkpointheal.agent.porter import Arrival
from checkpointheal.agent.tls import Papers
from checkpointheal.contract.layout import Identity
from checkpointheal.contract.orders import Assignment
from checkpointheal.contract.peer import Ask, Meet, No
from checkpointheal.contract.trust import Holder

PAPERS = Papers(
    holder=Holder(job="job", member=build.a_member(0), pod_uid="uid-0"), roots="roots", chain="chain", key="key"
)


class Shelf:
    """Holds one state, in slot 1."""

    def __init__(self, state: Identity = build.STATE) -> None:
        self.state = state

    def slot_of(self, identity: Identity) -> int | None:
        return 1 if identity == self.state else None


def ask(assignment: Assignment, **changes: object) -> Ask:
    asked = Ask(
        heal=assignment.heal,
        attempt=assignment.attempt,
        recipient_uid=assignment.recipient.pod_uid,
        **build.STATE.model_dump(),
    )
    return asked.model_copy(update=changes)


def a_giving(arena: Path, transfers: build.Transfers, shelf: Shelf | None = None) -> Giving:
    anything: Any = transfers
    held: Any = shelf or Shelf()
    return Giving(build.some_settings(arena), held, anything, lambda: None)


def test_a_granted_recipient_is_met_and_served(tmp_path: Path) -> None:
    async def story() -> None:
        transfers = build.Transfers(Meeting(store_port=4711), ends=False)
        giving = a_giving(tmp_path, transfers)
        await giving.take_grants((build.an_assignment(bytes_per_second=1000),))
        assert await giving.answer(ask(build.an_assignment())) == Meet(store_port=4711, prefix="heal-1/1", total=0)
        assert giving.serving == ("heal-1",)
        (errand,) = transfers.errands
        assert (errand.side, errand.slot, errand.identity) == ("donor", 1, build.STATE)
        assert errand.bytes_per_second == 1000
        await giving.take_grants(())

    asyncio.run(story())


@pytest.mark.parametrize("trains", [False, True])
def test_a_transfer_stands_back_where_the_donor_trains_beside_it(tmp_path: Path, trains: bool) -> None:
    async def story() -> None:
        transfers = build.Transfers(Meeting(store_port=4711), ends=False)
        giving = a_giving(tmp_path, transfers)
        giving.is_training = lambda: trains
        await giving.take_grants((build.an_assignment(),))
        await giving.answer(ask(build.an_assignment()))
        (errand,) = transfers.errands
        assert errand.stands_back is trains
        await giving.take_grants(())

    asyncio.run(story())


def over_tls(giving: Giving) -> dict[bytes, Arrival]:
    """Make its agent one that has a certificate and a door; who is expected there."""
    expected: dict[bytes, Arrival] = {}
    giving.expect = lambda: Arrival(expected)
    giving.papers = lambda: PAPERS
    return expected


def test_a_recipient_over_tls_gets_a_ticket_for_the_door_and_the_child_knows_whom_to_let_in(tmp_path: Path) -> None:
    async def story() -> None:
        transfers = build.Transfers(Meeting(), ends=False)
        giving = a_giving(tmp_path, transfers)
        expected = over_tls(giving)
        granted = build.an_assignment(channel="tls")
        await giving.take_grants((granted,))
        met = await giving.answer(ask(granted, channel="tls"))
        assert isinstance(met, Meet)
        assert (met.channel, met.store_port, bytes.fromhex(met.ticket)) == ("tls", 0, next(iter(expected)))
        (errand,), (arrival,) = transfers.errands, transfers.arrivals
        assert errand.secured == Secured(papers=PAPERS, peer_uid="uid-2")
        assert arrival is expected[bytes.fromhex(met.ticket)]
        await giving.take_grants(())
        while giving.serving:
            await asyncio.sleep(0)
        assert expected == {}, "a ticket ends with its transfer"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("granted", "asked", "certified", "reason"),
    [
        ("tls", "gloo", True, "ChannelDiffers"),
        ("gloo", "tls", True, "ChannelDiffers"),
        ("gloo", "tls", False, "ChannelDiffers"),
        ("tls", "tls", False, "NoCertificate"),
        ("carrier pigeon", "carrier pigeon", True, "UnknownChannel"),
    ],
)
def test_bytes_cross_over_the_granted_channel_or_not_at_all(
    tmp_path: Path, granted: str, asked: str, certified: bool, reason: str
) -> None:
    async def story() -> None:
        transfers = build.Transfers(Meeting(store_port=4711))
        giving = a_giving(tmp_path, transfers)
        if certified:
            over_tls(giving)
        await giving.take_grants((build.an_assignment(channel=granted),))
        said = await giving.answer(ask(build.an_assignment(), channel=asked))
        assert isinstance(said, No)
        assert said.reason == reason
        assert transfers.errands == []

    asyncio.run(story())


def test_an_agent_with_a_certificate_gives_over_gloo_where_that_is_the_policy(tmp_path: Path) -> None:
    async def story() -> None:
        transfers = build.Transfers(Meeting(store_port=4711), ends=False)
        giving = a_giving(tmp_path, transfers)
        assert over_tls(giving) == {}
        await giving.take_grants((build.an_assignment(),))
        assert await giving.answer(ask(build.an_assignment())) == Meet(store_port=4711, prefix="heal-1/1", total=0)
        assert (transfers.errands[0].secured, transfers.arrivals) == (None, [None])
        await giving.take_grants(())

    asyncio.run(story())


def test_a_grant_may_come_after_the_question(tmp_path: Path) -> None:
    async def story() -> None:
        giving = a_giving(tmp_path, build.Transfers(Meeting(store_port=4711)))
        asking = asyncio.create_task(giving.answer(ask(build.an_assignment())))
        await asyncio.sleep(0)
        await giving.take_grants((build.an_assignment(),))
        assert isinstance(await asking, Meet)

    asyncio.run(story())


@pytest.mark.parametrize(
    "changes",
    [{"heal": "heal-2"}, {"attempt": 2}, {"recipient_uid": "somebody"}],
    ids=["another heal", "another attempt", "another recipient"],
)
def test_who_was_not_granted_learns_nothing(
    tmp_path: Path, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "GRANT_SECONDS", 0)

    async def story() -> None:
        transfers = build.Transfers(Meeting(store_port=4711))
        giving = a_giving(tmp_path, transfers)
        await giving.take_grants((build.an_assignment(),))
        said = await giving.answer(ask(build.an_assignment(), **changes))
        assert isinstance(said, No)
        assert said.reason == "NoGrant"
        assert transfers.errands == []

    asyncio.run(story())


def test_a_state_that_is_not_there_any_more_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        newer = Shelf(build.STATE.model_copy(update={"step": 8}))
        giving = a_giving(tmp_path, build.Transfers(Meeting(store_port=4711)), newer)
        await giving.take_grants((build.an_assignment(),))
        said = await giving.answer(ask(build.an_assignment()))
        assert isinstance(said, No)
        assert said.reason == "NotUpToDate"

    asyncio.run(story())


def test_a_transfer_that_fails_before_the_meeting_is_a_no(tmp_path: Path) -> None:
    async def story() -> None:
        giving = a_giving(tmp_path, build.Transfers(Failed(reason="SlotDamaged", message="cut short")))
        await giving.take_grants((build.an_assignment(),))
        said = await giving.answer(ask(build.an_assignment()))
        assert isinstance(said, No)
        assert said.reason == "DonorFailed"

    asyncio.run(story())


def test_a_withdrawn_grant_ends_its_transfer(tmp_path: Path) -> None:
    async def story() -> None:
        transfers = build.Transfers(Meeting(store_port=4711), ends=False)
        giving = a_giving(tmp_path, transfers)
        await giving.take_grants((build.an_assignment(),))
        await giving.answer(ask(build.an_assignment()))
        await giving.take_grants(())
        while giving.serving:
            await asyncio.sleep(0)
        assert transfers.ended == 1

    asyncio.run(story())


def test_a_new_attempt_of_a_heal_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    async def story() -> None:
        transfers = build.Transfers(Meeting(store_port=4711), ends=False)
        giving = a_giving(tmp_path, transfers)
        for attempt in (1, 2):
            await giving.take_grants((build.an_assignment(attempt),))
            assert isinstance(await giving.answer(ask(build.an_assignment(attempt))), Meet)
        while transfers.ended < 1:
            await asyncio.sleep(0)
        assert giving.serving == ("heal-1",)
        assert [errand.attempt for errand in transfers.errands] == [1, 2]
        await giving.take_grants(())

    asyncio.run(story())
