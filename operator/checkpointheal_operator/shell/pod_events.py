"""Who tells a pod's owner that no agent is at work in it, nobody looks after it, or why its agent calls it unprotected?

One Warning Event per pod and reason, under a name made of both: whoever leads next finds it there. That none was put in
is not told where the webhook passes the namespace over: so its owner wants it. Nothing else is done to the pod. Quiet
jobs cost a round over their pods now and then. Must not know how jobs are healed.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from checkpointheal.contract.log_lines import about
from checkpointheal.contract.seats import local_rank_of, pod_of, seat_name
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.policy import matches
from checkpointheal_operator.core.amiss import strange
from checkpointheal_operator.core.facts import Heard, Stranger, Trouble
from checkpointheal_operator.core.identity import Placed, place
from checkpointheal_operator.core.pod_manifest import Metadata
from checkpointheal_operator.core.pod_trouble import is_over, no_policy, trouble
from checkpointheal_operator.core.protection import flaws_of
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.status import NO_AGENT
from checkpointheal_operator.shell.cluster import (
    CHECKPOINTHEALS,
    EVENTS,
    PODS,
    AlreadyThere,
    ClusterError,
    Kind,
    Refused,
)
from checkpointheal_operator.shell.look import Surroundings
from checkpointheal_operator.shell.mirror import Mirror, uid_of
from checkpointheal_operator.shell.overlap import selectors
from checkpointheal_operator.shell.telling import trouble_event

log = logging.getLogger("checkpointheal.operator")

ROUND_EVERY, LOOK_EVERY = 15.0, 1.0
ALONE_AFTER = 30.0
"""Seconds for which a policy may be on its way, or the job before on its way out."""
RESTS = 20
"""Times as long as it looked: healing needs the time more."""
AT_ONCE = 50
"""Events in a row: where a webhook was down for a thousand pods, healing goes first."""
AT_WORK = 15.0
"""Seconds for which an agent that was heard is at work, whatever its pod's object still says of how it ended once."""
BREATH = 500
"""Pods that are looked at before anybody else may go on."""

Found = tuple[Json, Trouble]
Agents = Mapping[str, list[Heard]]
"""Of each pod all its seats', the first one's first."""


class Known(NamedTuple):
    """What its leader knows of pods besides their objects."""

    heard: Callable[[], Iterable[Heard]]
    strangers: Callable[[], Iterable[Stranger]] = tuple


class PodEvents:
    """Of one leader. `steady` tells seconds that only grow."""

    def __init__(
        self,
        around: Surroundings,
        mirrors: Mapping[Kind, Mirror],
        known: Known,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known = known
        self._around, self._policies, self._pods = around, mirrors[CHECKPOINTHEALS], mirrors[PODS]
        self._steady, self._beat = steady, steady()
        self._round_at = float("-inf")
        self._told: set[tuple[str, Reason]] = set()
        self._alone: dict[str, float] = {}
        self._noticed: set[str] = set()

    @property
    def age(self) -> float:
        """Seconds since it last went on."""
        return self._steady() - self._beat

    def notice(self, namespace: str) -> None:
        """Something changed there."""
        self._noticed.add(namespace)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            began = self._steady()
            await self.look()
            await asyncio.sleep(max(LOOK_EVERY, (self._steady() - began) * RESTS))

    async def look(self) -> None:
        """Once, at what has changed; at all pods when their turn has come."""
        self._beat = self._steady()
        everywhere = self._beat >= self._round_at + ROUND_EVERY
        namespaces, self._noticed = self._pods.namespaces() if everywhere else self._noticed, set()
        agents = _by_pod(self._known.heard())
        strangers = {pod_of(each.pod.uid): each for each in self._known.strangers()}
        found: list[Found] = []
        for namespace in sorted(namespaces):
            found += await self._troubles(namespace, agents, strangers)
        if everywhere:
            self._round_at = self._beat
            standing = (said.reason for pod, said in found if not self._is_past(said, agents.get(uid_of(pod), ())))
            self._around.metrics.troubled(Counter(standing))
            self._told = {each for each in self._told if self._pods.by_uid(each[0])}
            self._alone = {uid: since for uid, since in self._alone.items() if self._pods.by_uid(uid)}
        await self._tell([each for each in found if _mark(each) not in self._told][:AT_ONCE])

    async def _troubles(self, namespace: str, agents: Agents, strangers: Mapping[str, Stranger]) -> list[Found]:
        serves = self._around.serves(namespace)
        policies = [selector for _, selector in selectors(self._policies.inside(namespace))]
        found: list[Found] = []
        for number, pod in enumerate(self._pods.inside(namespace), start=1):
            labels = pod["metadata"].get("labels", {})
            selected = any(matches(each, labels) for each in policies)
            alone = (_other_job(strangers.get(uid_of(pod))) or _placeless(pod)) if selected else no_policy(pod)
            its, said = agents.get(uid_of(pod), ()), trouble(pod)
            if said is not None and (serves or said.reason != Reason.NOT_INJECTED):
                found.append((pod, said))
            if said is None or self._is_past(said, its):
                found += [(pod, each) for each in (self._for_long(pod, alone),) if each is not None]
            found += [(pod, flaw) for flaw in _flaws(pod, its)]
            if number % BREATH == 0:
                await asyncio.sleep(0)
        return found

    def _is_past(self, said: Trouble, agents: Iterable[Heard]) -> bool:
        """An object tells of an agent's last end for as long as it stands, however well the next one is."""
        return said.reason in NO_AGENT and any(each.at >= self._around.clock() - AT_WORK for each in agents)

    def _for_long(self, pod: Json, alone: Trouble | None) -> Trouble | None:
        """That nobody looks after it, where that has been so for a while."""
        uid = uid_of(pod)
        if alone is None:
            self._alone.pop(uid, None)
            return None
        return alone if self._beat >= self._alone.setdefault(uid, self._beat) + ALONE_AFTER else None

    async def _tell(self, found: list[Found]) -> None:
        """What cannot be written now is written in the next round; what may not be written never is."""
        for pod, said in found:
            metadata = pod["metadata"]
            facts = about(namespace=metadata["namespace"], pod=metadata["name"], reason=said.reason)
            try:
                await self._around.cluster.create(EVENTS, trouble_event(pod, said, self._around.clock()))
                log.warning("%s", said.message, extra=facts)
            except AlreadyThere:
                pass
            except Refused as error:
                log.warning("nobody can be told that %s: %s", said.message, error, extra=facts)
            except ClusterError as error:
                log.warning("nobody could be told about pods now: %s: %s", error.reason, error)
                return
            self._told.add(_mark((pod, said)))
            self._beat = self._steady()


def _other_job(found: Stranger | None) -> Trouble | None:
    return None if found is None else Trouble(reason=Reason.OTHER_JOB, message=strange(found))


def _placeless(pod: Json) -> Trouble | None:
    """That its marks tell no place, for as long as it may still get one."""
    where = place(Metadata.model_validate(pod["metadata"]))
    if is_over(pod) or isinstance(where, Placed):
        return None
    told = Reason.PLACE_UNKNOWN.tell(pod=pod["metadata"]["name"], why=f"{where.reason}: {where.message}")
    return Trouble(reason=Reason.PLACE_UNKNOWN, message=told)


def _by_pod(heard: Iterable[Heard]) -> Agents:
    found: dict[str, list[Heard]] = {}
    for each in sorted(heard, key=lambda heard: local_rank_of(heard.report.pod_uid)):
        found.setdefault(pod_of(each.report.pod_uid), []).append(each)
    return found


def _flaws(pod: Json, agents: Iterable[Heard]) -> tuple[Trouble, ...]:
    """The same flaw of several seats is told once: its remedy is the pod's."""
    if is_over(pod):
        return ()
    name = pod["metadata"]["name"]
    reports = (each.report for each in agents)
    seats = ((seat_name(name, local_rank_of(each.pod_uid), each.local_ranks), each) for each in reports)
    first: dict[Reason, Trouble] = {}
    for seat, report in seats:
        for flaw in flaws_of(report, f"pod {seat}"):
            first.setdefault(flaw.reason, flaw)
    return tuple(first.values())


def _mark(found: Found) -> tuple[str, Reason]:
    return uid_of(found[0]), found[1].reason
