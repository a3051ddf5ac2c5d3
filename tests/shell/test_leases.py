"""One leads, never two; when it is gone, another does."""

import asyncio
import time

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.shell.cluster import Ref, Unreachable
from checkpointheal_operator.shell.leases import LEASES, Clocks, Leadership, Terms
from fake_cluster import FakeCluster

LEASE = Ref(LEASES, "system", "checkpointheal")
TERMS = Terms(holds=0.4, gives_up=0.25, every=0.05)
PATIENCE = 20.0


class Cut(FakeCluster):
    """The same API, as one replica reaches it or does not."""

    def __init__(self, shared: FakeCluster) -> None:
        super().__init__()
        self.shared, self.cut = shared, False
        self.renewed: asyncio.Event | None = None
        """Where there is one, renewals are done, and never answered."""

    async def get(self, ref: Ref) -> Json:
        self._reach()
        return await self.shared.get(ref)

    async def create(self, kind, body):
        self._reach()
        return await self.shared.create(kind, body)

    async def patch(self, ref, body, *, status=False):
        self._reach()
        stored = await self.shared.patch(ref, body, status=status)
        if self.renewed is not None and "renewTime" in body["spec"]:
            self.renewed.set()
            await asyncio.Event().wait()
        return stored

    def _reach(self) -> None:
        if self.cut:
            raise Unreachable("the cable is cut")


class Candidates:
    """Several, and who works."""

    def __init__(self, *names: str) -> None:
        shared = FakeCluster()
        clocks = Clocks(time.time, time.monotonic)
        self.cables = {name: Cut(shared) for name in names}
        self.tasks = {
            name: asyncio.create_task(Leadership(cable, LEASE, name, clocks, TERMS).lead(lambda n=name: self._work(n)))
            for name, cable in self.cables.items()
        }
        self.working: set[str] = set()
        self.most = 0

    async def _work(self, name: str) -> None:
        self.working.add(name)
        self.most = max(self.most, len(self.working))
        try:
            await asyncio.Event().wait()
        finally:
            self.working.discard(name)

    async def one_works(self, *not_these: str) -> str:
        async with asyncio.timeout(PATIENCE):
            while not self.working - set(not_these):
                await asyncio.sleep(0.005)
        return next(iter(self.working - set(not_these)))

    async def end(self, *names: str) -> None:
        tasks = [self.tasks.pop(name) for name in names or tuple(self.tasks)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_of_many_candidates_one_leads_and_keeps_leading():
    async def go() -> None:
        candidates = Candidates("a", "b", "c")
        leader = await candidates.one_works()
        await asyncio.sleep(TERMS.holds * 2)
        assert candidates.working == {leader}
        assert candidates.most == 1
        await candidates.end()

    asyncio.run(go())


def test_a_leader_that_ends_gives_the_lease_back():
    async def go() -> None:
        candidates = Candidates("a", "b")
        first = await candidates.one_works()
        await candidates.end(first)
        assert candidates.cables["a"].shared.objects[LEASE]["spec"]["holderIdentity"] == ""
        assert await candidates.one_works(first) != first
        assert candidates.most == 1
        await candidates.end()

    asyncio.run(go())


def test_a_leader_that_ends_while_it_waits_for_the_answer_to_a_renewal_gives_the_lease_back():
    async def go() -> None:
        candidates = Candidates("a")
        first = await candidates.one_works()
        cable = candidates.cables[first]
        cable.renewed = asyncio.Event()
        await asyncio.wait_for(cable.renewed.wait(), PATIENCE)
        await candidates.end(first)
        assert cable.shared.objects[LEASE]["spec"]["holderIdentity"] == ""

    asyncio.run(go())


def test_a_leader_that_is_cut_off_stops_before_another_begins():
    async def go() -> None:
        candidates = Candidates("a", "b")
        first = await candidates.one_works()
        candidates.cables[first].cut = True
        second = await candidates.one_works(first)
        candidates.cables[first].cut = False
        await asyncio.sleep(TERMS.holds * 2)
        assert candidates.working == {second}
        assert candidates.most == 1
        await candidates.end()

    asyncio.run(go())
