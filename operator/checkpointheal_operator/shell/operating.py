"""How do many jobs share one operator: who looks after which, and whom does each agent's report reach?

A keeper for each CheckpointHeal. A report wakes the job that orders its pod anything, or, where none does, those of the
namespace that it lives in; one that has no news wakes nobody, because with a thousand agents one comes every
millisecond. A job hears only pods that its policy selects: jobs of one name, in two namespaces or under two policies,
are two. Must not know how mirrors are kept, and decides nothing.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

from checkpointheal.contract.report import AgentReport
from checkpointheal.contract.seats import pod_of
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.policy import matches
from checkpointheal_operator.core.facts import Heard, Stranger
from checkpointheal_operator.core.hearing import is_news
from checkpointheal_operator.gateway.hub import Hub
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, HEALS, PODS, Kind
from checkpointheal_operator.shell.keeping import Keeper, Ties
from checkpointheal_operator.shell.look import Looked, Surroundings
from checkpointheal_operator.shell.mirror import Key, Mirror, key_of
from checkpointheal_operator.shell.objects import Listening
from checkpointheal_operator.shell.overlap import selectors
from checkpointheal_operator.shell.pod_events import Known, PodEvents
from checkpointheal_operator.shell.speakers import Speakers
from checkpointheal_operator.shell.switchboard import Switchboard, orders_of

FORGOTTEN_AFTER = 60.0
"""Seconds for which a report of a pod that no job knows is kept: its pod or its policy may be on the way."""
MATCH_AT_MOST_EVERY = 0.1


class Ears(Hub):
    """A hub that says who spoke."""

    def __init__(self, operator: "Operator", around: Surroundings) -> None:
        super().__init__(around.clock, lambda: None)
        self._operator = operator

    def take(self, report: AgentReport, namespace: str = "") -> None:
        """Keep a report, and wake the jobs that it may be about where it has news."""
        before = self.heard_of(report.pod_uid)
        super().take(report)
        self._operator.heard_from(report.pod_uid, namespace)
        after = self.heard_of(report.pod_uid)
        if after is not None and is_news(before, after):
            self._operator.spoke(report.pod_uid)


class Operator:
    """All jobs of one leader, from the moment at which it began to lead."""

    def __init__(self, around: Surroundings, mirrors: Mapping[Kind, Mirror]) -> None:
        self._around, self._policies, self._pods = around, mirrors[CHECKPOINTHEALS], mirrors[PODS]
        self._since = around.clock()
        self._keepers: dict[Key, tuple[Keeper, asyncio.Task[None]]] = {}
        self._inside: defaultdict[str, dict[Key, Keeper]] = defaultdict(dict)
        self._kept: dict[Key, frozenset[str]] = {}
        self._speakers = Speakers(self._pods)
        self._changed = asyncio.Event()
        self._others: dict[Key, tuple[Stranger, ...]] = {}
        self._pod_events = PodEvents(around, mirrors, Known(lambda: self.hub.heard, self._of_other_jobs))
        self._beat = time.monotonic()
        self.hub = Ears(self, around)
        self._switchboard = Switchboard(self.hub, self._speakers)

    def changed(self, kind: Kind, before: Json | None, now: Json | None) -> None:
        """An object was, and is. A heal, or a policy's status, concerns one job: its writes are most of all changes."""
        found = now or before or {}
        key = key_of(found)
        if kind == HEALS:
            owners = found["metadata"].get("ownerReferences", ())
            key = key._replace(name=next((owner.get("name", "") for owner in owners), ""))
        is_the_jobs = kind == HEALS or (kind == CHECKPOINTHEALS and _is_status(before, now))
        if is_the_jobs and key in self._keepers:
            self._keepers[key][0].notice()
        else:
            self.notice(key.namespace)

    def notice(self, namespace: str) -> None:
        """Something changed there."""
        self._changed.set()
        self._pod_events.notice(namespace)
        for keeper in self._inside.get(namespace, {}).values():
            keeper.notice()

    def heard_from(self, pod_uid: str, namespace: str) -> None:
        """That pod's agent is alive, there, as its token proved."""
        self._speakers.spoke(pod_uid, namespace)

    def spoke(self, pod_uid: str) -> None:
        """That pod's agent has news."""
        where = self._speakers.namespace(pod_uid)
        if (key := self._switchboard.whose(pod_uid)) is not None:
            self._keepers[key][0].notice()
        else:
            self.notice(where)

    async def run(self) -> None:
        """Until cancelled, or until a keeper fails, which is a fault of ours and is raised."""
        telling = asyncio.create_task(self._pod_events.run())
        try:
            while True:
                self._changed.clear()
                self._beat = time.monotonic()
                if telling.done():
                    telling.result()
                self._match_policies()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FORGOTTEN_AFTER / 2):
                        await self._changed.wait()
                await asyncio.sleep(MATCH_AT_MOST_EVERY)
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

    @property
    def standing_still(self) -> int:
        """How many jobs have agents at work and do not go on."""
        return sum(keeper.stands_still for keeper, _task in self._keepers.values())

    def _match_policies(self) -> None:
        """Exactly the policies that stand have keepers."""
        standing = {key_of(each) for each in self._policies}
        for key in sorted(standing - self._keepers.keys()):
            keeper = Keeper(self._around, key, self._ties(key))
            self._keepers[key] = (keeper, asyncio.create_task(keeper.run()))
            self._inside[key.namespace][key] = keeper
        for key in sorted(self._keepers.keys() - standing):
            self._leave(key)
        for _keeper, task in self._keepers.values():
            if task.done():
                task.result()
        self._forget()
        self._switchboard.tell_strangers(self._keepers.keys())

    def _leave(self, key: Key) -> None:
        """Its policy is gone."""
        if self._switchboard.leave(key):
            self._changed.set()
        _keeper, task = self._keepers.pop(key)
        task.cancel()
        del self._inside[key.namespace][key]
        self._kept.pop(key, None)
        self._others.pop(key, None)

    def _ties(self, key: Key) -> Ties:
        def looked(found: Looked) -> None:
            self._others[key] = found.view.strangers
            self._kept[key] = frozenset(each.report.pod_uid for each in found.view.heard)
            if self._switchboard.order(key, orders_of(found)):
                self._changed.set()

        def listening() -> Listening:
            heard, unlisted = tuple(self._heard_by(key)), self._speakers.unlisted(key.namespace)
            return Listening(self._since, heard, unlisted, served=self._around.serves(key.namespace))

        return Ties(listening, looked)

    def _of_other_jobs(self) -> Iterator[Stranger]:
        return (each for found in self._others.values() for each in found)

    def _heard_by(self, key: Key) -> Iterator[Heard]:
        """A gone pod's last words too go to the policy that selected it, and to no other.

        Those of one whose labels nobody has seen go to the policy in whose latest epoch it is.
        """
        policy = self._policies.get(*key)
        latest = _latest(policy)
        wanted = [selector for _name, selector in selectors([policy] if policy is not None else ())]
        for uid in self._speakers.inside(key.namespace):
            said = self.hub.heard_of(uid)
            labels = self._speakers.labels(uid)
            is_its = any(matches(each, labels) for each in wanted) or (not labels and uid in latest)
            if said is not None and is_its:
                yield said

    def _forget(self) -> None:
        """What no job needs, of pods that are gone."""
        needed = frozenset[str]().union(*self._kept.values())
        recent = self._around.clock() - FORGOTTEN_AFTER
        kept = tuple(
            each
            for each in self.hub.heard
            if each.report.pod_uid in needed or each.at > recent or self._pods.by_uid(pod_of(each.report.pod_uid))
        )
        self.hub.keep_only(kept)
        self._speakers.keep_only({each.report.pod_uid for each in kept})


def _is_status(before: Json | None, now: Json | None) -> bool:
    """Whether it is the same life of the object under the same spec."""
    return None not in (before, now) and _life(before) == _life(now)


def _life(found: Json | None) -> tuple[str, int]:
    metadata = (found or {})["metadata"]
    return metadata["uid"], metadata.get("generation", 0)


def _latest(policy: Json | None) -> frozenset[str]:
    epoch = ((policy or {}).get("status") or {}).get("epoch") or {}
    return frozenset(each["podUID"] for each in epoch.get("members", ()))
