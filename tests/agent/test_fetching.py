"""One state is fetched at a time, and how that ends is told whatever ended it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

import builders_agent as build
from checkpointheal.agent.background import Background
from checkpointheal.agent.errand import Ended, Errand, ErrandSays, Progress
from checkpointheal.agent.fetching import Fetching
from checkpointheal.agent.porter import Arrival
from checkpointheal.agent.taking import Taking
from checkpointheal.contract.orders import EpochOrder
from checkpointheal.contract.peer import Ask, Meet

ENDED = Ended(
    bytes=9,
    total=9,
    hold_seconds=0,
    transfer_seconds=0,
    verify_seconds=0,
    step=build.STATE.step,
    state_digest=build.STATE.state_digest,
)


class Peers:
    """Every donor meets."""

    async def ask(self, _donor: object, _ask: Ask) -> Meet:
        return Meet(store_port=1, prefix="heal-1/1", total=0)


class Recipient:
    """An agent's part in a fetch, in this epoch."""

    def __init__(self, arena: Path, transfers: build.Transfers, epoch: EpochOrder | None = None) -> None:
        peers: Any = Peers()
        moving: Any = transfers
        self.taking = Taking(build.some_settings(arena, 2), peers, moving, lambda: None)
        self.ended = asyncio.Event()
        self.fetching = Fetching(self.taking, Background(), lambda: epoch, self.ended.set)

    @property
    def outcome(self) -> tuple[str, str]:
        assert self.taking.facts is not None
        return self.taking.facts.state, self.taking.facts.reason


async def once(true: Callable[[], object]) -> None:
    while not true():
        await asyncio.sleep(0)


def test_a_fetch_is_under_way_from_its_first_moment_until_it_has_ended(tmp_path: Path) -> None:
    async def story() -> None:
        recipient = Recipient(tmp_path, build.Transfers(ENDED))
        recipient.fetching.begin(build.an_assignment())
        assert recipient.fetching.assignment == build.an_assignment()
        await recipient.ended.wait()
        assert recipient.fetching.assignment is None
        assert recipient.outcome == ("verified", "")

    asyncio.run(story())


def test_one_that_is_called_off_is_under_way_no_more_and_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        transfers = build.Transfers(Progress(bytes=4, total=9), ends=False)
        recipient = Recipient(tmp_path, transfers)
        recipient.fetching.begin(build.an_assignment())
        await once(lambda: transfers.errands)
        recipient.fetching.stop()
        assert recipient.fetching.assignment is None
        await recipient.ended.wait()
        assert recipient.outcome == ("failed", "Abandoned")
        assert transfers.ended == 1
        recipient.fetching.stop()  # nothing is there to stop any more

    asyncio.run(story())


class Reluctant(build.Transfers):
    """What is called off takes its time to end."""

    def __init__(self) -> None:
        super().__init__(Progress(bytes=4, total=9), ends=False)
        self.may_end = asyncio.Event()

    async def run(self, errand: Errand, arrival: Arrival | None = None) -> AsyncGenerator[ErrandSays]:
        try:
            async for said in super().run(errand, arrival):
                yield said
        finally:
            await self.may_end.wait()


def test_one_that_ends_late_leaves_the_one_that_took_its_place_alone(tmp_path: Path) -> None:
    async def story() -> None:
        recipient = Recipient(tmp_path, transfers := Reluctant())
        recipient.fetching.begin(build.an_assignment())
        await once(lambda: transfers.errands)
        recipient.fetching.stop()
        second = build.an_assignment(attempt=2)
        recipient.fetching.begin(second)
        await once(lambda: len(transfers.errands) == 2 and recipient.outcome == ("receiving", ""))
        transfers.may_end.set()
        await recipient.ended.wait()
        assert recipient.fetching.assignment is second
        assert recipient.outcome == ("receiving", "")
        recipient.ended.clear()
        recipient.fetching.stop()
        await recipient.ended.wait()
        assert recipient.outcome == ("failed", "Abandoned")

    asyncio.run(story())


def test_one_that_is_overdue_ends_by_itself_and_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        recipient = Recipient(tmp_path, build.Transfers(ends=False))
        recipient.fetching.begin(build.an_assignment(deadline=0.0))
        await recipient.ended.wait()
        assert recipient.fetching.assignment is None
        assert recipient.outcome == ("failed", "Overdue")
        assert recipient.taking.facts is not None
        assert recipient.taking.facts.message == "the transfer did not end within 0.0 s"

    asyncio.run(story())


class Broken(build.Transfers):
    """Something that nobody foresaw happens in its middle."""

    async def run(self, errand: Errand, arrival: Arrival | None = None) -> AsyncGenerator[ErrandSays]:
        async for said in super().run(errand, arrival):
            yield said
        raise RuntimeError("nobody foresaw this")


def test_one_that_breaks_is_under_way_no_more_and_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        recipient = Recipient(tmp_path, Broken(Progress(bytes=4, total=9)))
        recipient.fetching.begin(build.an_assignment())
        await asyncio.wait_for(recipient.ended.wait(), 5)
        assert recipient.fetching.assignment is None
        assert recipient.outcome == ("failed", "TransferDied")
        assert recipient.taking.facts is not None
        assert recipient.taking.facts.bytes == 4

    asyncio.run(story())


@pytest.mark.parametrize(("epoch", "told"), [(EpochOrder(epoch=3, over=True), 3), (None, 0)])
def test_what_is_fetched_is_sealed_in_the_epoch_that_stands(
    tmp_path: Path, epoch: EpochOrder | None, told: int
) -> None:
    async def story() -> None:
        transfers = build.Transfers(ENDED)
        recipient = Recipient(tmp_path, transfers, epoch)
        recipient.fetching.begin(build.an_assignment())
        await recipient.ended.wait()
        assert [errand.epoch for errand in transfers.errands] == [told]

    asyncio.run(story())
