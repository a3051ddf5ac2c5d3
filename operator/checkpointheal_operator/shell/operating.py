"""How do many jobs share one operator: who looks after which, whom did each agent's report reach, who is ordered what?

A keeper for each CheckpointHeal; reports go to the job whose policy selects the reporting pod, in its namespace: jobs
of one name, in two namespaces or under two policies, are two. The orders of all jobs are declared together. Must not
know how mirrors are kept, and decides nothing.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from checkpointheal.contract.gateway import AgentReport, Orders
from checkpointheal_operator.api.policy import matches
from checkpointheal_operator.core.orders import orders
from checkpointheal_operator.core.view import Heard
from checkpointheal_operator.gateway.hub import Hub
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, PODS, Kind
from checkpointheal_operator.shell.keeping import Keeper, Ties
from checkpointheal_operator.shell.look import Looked, Surroundings
from checkpointheal_operator.shell.mirror import Mirror, Place
from checkpointheal_operator.shell.objects import Listening
from checkpointheal_operator.shell.overlap import selectors
from checkpointheal_operator.shell.pod_events import PodEvents

NO_POLICY = Orders(revision=1, withdrawn=True)
FORGOTTEN_AFTER = 60.0
"""Seconds for which a report of a pod that no job knows is kept: its pod or its policy may be on the way."""


class Lived(NamedTuple):
    """Where a pod lives or lived, and the labels by which a policy selects it."""

    namespace: str
    labels: dict[str, str]


NOWHERE = Lived("", {})


class Ears(Hub):
    """A hub that says who spoke."""

    def __init__(self, operator: "Operator", around: Surroundings) -> None:
        super().__init__(around.clock, lambda: None)
        self._operator = operator

    def take(self, report: AgentReport) -> None:
        """Keep a report, and wake the jobs that it may be about."""
        super().take(report)
        self._operator.spoke(report.pod_uid)


class Operator:
    """All jobs of one leader, from the moment at which it began to lead."""

    def __init__(self, around: Surroundings, mirrors: Mapping[Kind, Mirror]) -> None:
        self._around, self._policies, self._pods = around, mirrors[CHECKPOINTHEALS], mirrors[PODS]
        self._since = around.clock()
        self._keepers: dict[Place, tuple[Keeper, asyncio.Task[None]]] = {}
        self._orders: dict[Place, dict[str, Orders]] = {}
        self._kept: dict[Place, frozenset[str]] = {}
        self._lived: dict[str, Lived] = {}
        self._changed = asyncio.Event()
        self._pod_events = PodEvents(around, mirrors, lambda: self.hub.heard)
        self._beat = time.monotonic()
        self.hub = Ears(self, around)

    def notice(self, namespace: str) -> None:
        """Something changed there."""
        self._changed.set()
        self._pod_events.notice(namespace)
        for (where, _name), (keeper, _task) in self._keepers.items():
            if where == namespace:
                keeper.notice()

    def spoke(self, pod_uid: str) -> None:
        """That pod's agent reported."""
        self.notice(self._find(pod_uid).namespace)

    async def run(self) -> None:
        """Until cancelled, or until a keeper fails, which is a fault of ours and is raised."""
        telling = asyncio.create_task(self._pod_events.run())
        try:
            while True:
                self._changed.clear()
                self._beat = time.monotonic()
                if telling.done():
                    telling.result()
                await self._match_policies()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), FORGOTTEN_AFTER / 2)
        finally:
            tasks = [telling, *(task for _keeper, task in self._keepers.values())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def age(self) -> float:
        """Seconds since the slowest of all that goes on here last went on."""
        ages = (keeper.age for keeper, _task in self._keepers.values())
        return max(time.monotonic() - self._beat, self._pod_events.age, *ages)

    @property
    def view_age(self) -> float:
        """Seconds since the job that has waited longest was looked at."""
        return max((keeper.view_age for keeper, _task in self._keepers.values()), default=0.0)

    @property
    def jobs(self) -> int:
        """How many are looked after."""
        return len(self._keepers)

    @property
    def open_heals(self) -> int:
        """How many wait for their verdict, in all jobs."""
        return sum(keeper.open_heals for keeper, _task in self._keepers.values())

    async def _match_policies(self) -> None:
        """Exactly the policies that stand have keepers."""
        standing = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in self._policies}
        for place in sorted(standing - self._keepers.keys()):
            keeper = Keeper(self._around, place, self._ties(place))
            self._keepers[place] = (keeper, asyncio.create_task(keeper.run()))
        for place in sorted(self._keepers.keys() - standing):
            _keeper, task = self._keepers.pop(place)
            task.cancel()
            self._orders.pop(place, None)
            self._kept.pop(place, None)
        for _keeper, task in self._keepers.values():
            if task.done():
                task.result()
        self._forget()
        await self._declare()

    def _ties(self, place: Place) -> Ties:
        async def looked(found: Looked) -> None:
            self._orders[place] = _by_uid(found)
            self._kept[place] = frozenset(each.report.pod_uid for each in found.view.heard)
            self._forget()
            await self._declare()

        return Ties(lambda: Listening(self._since, tuple(self._heard_by(place))), looked)

    def _heard_by(self, place: Place) -> Iterator[Heard]:
        """A gone pod's last words too go to the policy that selected it, and to no other."""
        policy = self._policies.get(*place)
        for _name, selector in selectors([policy] if policy is not None else ()):
            for each in self.hub.heard:
                lived = self._find(each.report.pod_uid)
                if lived.namespace == place[0] and matches(selector, lived.labels):
                    yield each

    def _find(self, pod_uid: str) -> Lived:
        """Of a pod that is gone, where it lived."""
        pod = self._pods.by_uid(pod_uid)
        if pod is not None:
            metadata = pod["metadata"]
            self._lived[pod_uid] = Lived(metadata["namespace"], metadata.get("labels") or {})
        return self._lived.get(pod_uid, NOWHERE)

    def _forget(self) -> None:
        """What no job needs, of pods that are gone."""
        needed = frozenset[str]().union(*self._kept.values())
        recent = self._around.clock() - FORGOTTEN_AFTER
        kept = tuple(
            each
            for each in self.hub.heard
            if each.report.pod_uid in needed or each.at > recent or self._pods.by_uid(each.report.pod_uid)
        )
        self.hub.keep_only(kept)
        uids = {each.report.pod_uid for each in kept}
        self._lived = {uid: where for uid, where in self._lived.items() if uid in uids}

    async def _declare(self) -> None:
        """A pod that has spoken and that no job orders anything is told that there is no policy for it."""
        every = {uid: each for standing in self._orders.values() for uid, each in standing.items()}
        if len(self._orders) == len(self._keepers):
            every |= {each.report.pod_uid: NO_POLICY for each in self.hub.heard if each.report.pod_uid not in every}
        await self.hub.order(every)


def _by_uid(found: Looked) -> dict[str, Orders]:
    """Of two pods that claim a place, the younger one's are its orders."""
    view = found.view
    if found.instead is not None:
        return {pod.uid: found.instead for pod in view.pods}
    uid_of = {pod.member: pod.uid for pod in sorted(view.pods, key=lambda pod: (pod.seen_since, pod.uid))}
    return {uid_of[member]: each for member, each in orders(view).items() if member in uid_of}
