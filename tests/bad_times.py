"""A job whose operator stands before an API server that has a bad time, on virtual time: one run, and what came of it.

The operator is a whole `Replica` over HTTP: lease, watches, looks, writes. What is left out `near_job` says.
"""

import asyncio
import contextlib
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

import virtual_time
from bad_server import BadTime, forget, nobody_refused, swallow
from builders_api import pod_object
from builders_core import a_pod, m
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.shell import replica as replicas
from checkpointheal_operator.shell.cluster import HEALS, PODS, Kind, Ref
from fake_api import FakeApi, WatchedCluster
from near_job import NearJob, PoliciesWatched, Process

ROUND = 0.5
BOOKMARK_EVERY = 60.0
BEGINS_WITHIN, HEALS_WITHIN = 60.0, 240.0
"""Seconds of virtual time: what takes longer hangs."""
STEP = 5
BYSTANDERS = 4
READ_AND_WRITTEN = 0.5
"""Seconds, besides twice what an answer takes, from asking for a donor's pod to writing it down."""


class Outcome(NamedTuple):
    """What one run came to."""

    behind: float
    """Seconds for which a mirror differed from the server, at most."""
    healed_after: float
    """Seconds from the end of the bad time until everybody trained and every heal had its verdict."""
    restarts: int
    assignments: int
    gone_behind: int
    """Donors that were named behind the chosen one, though they were deleted long ago."""


class Witness:
    """Looks over the API server's shoulder at each write, and at the mirrors in between."""

    def __init__(self, api: FakeApi, process: Process, job: NearJob) -> None:
        self._api, self._process, self._job = api, process, job
        self._now = asyncio.get_running_loop().time
        self._gone: dict[str, float] = {}
        self._stood: set[str] = set()
        self.written: set[tuple[str, int]] = set()
        self.broken: list[str] = []
        self.gone_behind = 0
        self.equal_at, self.behind = self._now(), 0.0
        api.cluster.after = self.wrote

    def wrote(self, _number: int) -> None:
        self.look_at_pods()
        for heal in map(Heal.model_validate, self._api.cluster.all(HEALS)):
            assigned = heal.spec.assignment
            if assigned is not None and (heal.metadata.name, assigned.attempt) not in self.written:
                self.written.add((heal.metadata.name, assigned.attempt))
                for place, donor in enumerate(assigned.donors):
                    self._is_there(donor.pod_uid, place)

    def look_at_pods(self) -> None:
        now = {each["metadata"]["uid"] for each in self._api.cluster.all(PODS)}
        self._gone |= dict.fromkeys(self._stood - now, self._now())
        self._stood = now

    def look(self) -> None:
        """Between two rounds: how far are the mirrors behind, and is anything ordered that nobody wrote?"""
        self.look_at_pods()
        if all(dict(self._held(kind)) == dict(self._standing(kind)) for kind in self._process.replica.mirrors):
            self.equal_at = self._now()
        self.behind = max(self.behind, self._now() - self.equal_at)
        assert not self.broken, self.broken
        ordered = {each.assignment for each in self._job.ordered.values() if each.assignment}
        assert {(each.heal, each.attempt) for each in ordered} <= self.written, "ordered, and not written"

    def excuse(self) -> None:
        """Until now nobody could know better."""
        self.behind, self.equal_at = 0.0, self._now()

    def _is_there(self, uid: str, place: int) -> None:
        """A server that waits for its answers lets nothing of ours raise: see `broken`."""
        since = self._now() - self._gone.get(uid, self._now())
        if since > READ_AND_WRITTEN + 2 * self._api.takes:
            self.gone_behind += place > 0
            self.broken += [f"{uid} was chosen as a donor {since:.1f} s after it was deleted"] if place == 0 else []

    def _held(self, kind: Kind) -> Iterator[tuple[str, str]]:
        return _versions(self._process.replica.mirrors[kind])

    def _standing(self, kind: Kind) -> Iterator[tuple[str, str]]:
        return _versions(self._api.cluster.all(kind))


def _versions(objects: Any) -> Iterator[tuple[str, str]]:
    return ((each["metadata"]["uid"], each["metadata"]["resourceVersion"]) for each in objects)


class Story:
    """One job through one bad time."""

    def __init__(self, api: FakeApi, process: Process, chance: random.Random) -> None:
        self.api, self.process, self._chance = api, process, chance
        self.job = NearJob(api.cluster, api, process)
        self.witness = Witness(api, process, self.job)
        self._now = asyncio.get_running_loop().time

    async def go(self, bad: BadTime) -> Outcome:
        await self._until(lambda: self.job.is_training, BEGINS_WITHIN, "the beginning")
        self._train()
        self.witness.excuse()
        happening = [
            asyncio.create_task(each) for each in (bad.begin(self.api, self._chance), self._lose(bad), self._stir())
        ]
        while not happening[0].done() or not happening[1].done():
            await self._round()
            if bad.refuses and self.api.refuse is not nobody_refused:
                self.witness.excuse()
        happening[2].cancel()
        for each in happening[:2]:
            each.result()
        ended = self._now()
        await self._until(lambda: self.job.is_settled() and self._is_equal(bad), HEALS_WITHIN, "the end")
        assert self.job.steps == {STEP}
        assert [each.spec.recipient.member for each in self.job.heals if each.spec.assignment]
        seen = self.witness
        return Outcome(seen.behind, self._now() - ended, self.process.restarts, len(seen.written), seen.gone_behind)

    def _is_equal(self, bad: BadTime) -> bool:
        """What nobody tells, nobody can know."""
        return self.witness.equal_at == self._now() or bad.seconds == float("inf")

    def _train(self) -> None:
        """All at once: nothing goes wrong yet."""
        for _ in range(STEP):
            for member in self.job.pods:
                self.job.train(member)

    async def _lose(self, bad: BadTime) -> None:
        """One member's pod is replaced; before that another's may be deleted, and live on unseen for a while."""
        first, second, _ = self._chance.sample(sorted(self.job.pods), 3)
        await asyncio.sleep(self._chance.uniform(0, 10))
        haunted = bad.begin in (swallow, forget) or self._chance.random() < 0.5
        while bad.begin is forget and self.api.refuse is nobody_refused:
            await asyncio.sleep(0.1)
        if haunted:
            self.job.delete_unseen(second, told=bad.begin is not swallow)
            await asyncio.sleep(self._chance.uniform(0, 2))
        self.job.replace_pod(first)
        if haunted:
            await asyncio.sleep(self._chance.uniform(5, 20))
            self.job.replace_pod(second)

    async def _stir(self) -> None:
        """Pods of nobody's come, change and go."""
        for number in range(1_000_000):
            await asyncio.sleep(self._chance.uniform(0.3, 4))
            name = f"bystander-{self._chance.randrange(BYSTANDERS)}"
            ref, cluster = Ref(PODS, "elsewhere", name), self.api.cluster
            if ref not in cluster.objects:
                body = pod_object(a_pod(m("0/0"), name=name, uid=f"{name}-{number}"))
                body["metadata"] |= {"namespace": "elsewhere"}
                cluster.put(PODS, body)
            elif self._chance.random() < 0.5:
                cluster.put(PODS, cluster.objects[ref] | {"spec": {"nodeName": f"node-{number}"}})
            else:
                cluster.remove(ref)

    async def _until(self, true: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = self._now() + seconds
        while not true():
            assert self._now() < deadline, f"{what} does not come"
            await self._round()

    async def _round(self) -> None:
        self.job.now = self._now()
        self.job.go_round()
        await asyncio.sleep(ROUND)
        self.process.look_after()
        self.witness.look()


@contextlib.asynccontextmanager
async def a_server() -> AsyncIterator[tuple[FakeApi, Process]]:
    api = FakeApi(WatchedCluster(), bookmark_every=BOOKMARK_EVERY)
    api.refuse = nobody_refused
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "api")
        async with (
            api.serving_at(path),
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path), limit=0)) as session,
        ):
            process = Process(session)
            try:
                yield api, process
            finally:
                await process.end()


def lived_through(name: str, bad: BadTime, seed: int) -> Outcome:
    """One run. Raises AssertionError where a promise was broken."""

    async def story() -> Outcome:
        async with a_server() as (api, process):
            return await Story(api, process, random.Random(f"{name} {seed}")).go(bad)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replicas, "OurKinds", PoliciesWatched)
        return virtual_time.run(story())
