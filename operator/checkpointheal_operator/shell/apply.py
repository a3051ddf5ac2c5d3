"""How does a decision become API objects? The only writer.

Each decision is one write, under the version that was read; a second one of the same decision changes nothing. So the
operator may end between any two of them: the next one reads what stands and decides from there. Must not know why
anything was decided.
"""

import contextlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import assert_never

from checkpointheal.contract.log_lines import about
from checkpointheal.contract.seats import pod_name, pod_of
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.api.drill_record import drill_status
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.api.heal_record import assignment_spec, heal_spec
from checkpointheal_operator.api.job_status import CheckpointHealStatus
from checkpointheal_operator.core.decisions import (
    Assign,
    BeginEpoch,
    Conclude,
    Decision,
    EndEpoch,
    LeaveEpoch,
    Nothing,
    OpenHeal,
    Restart,
    Wait,
)
from checkpointheal_operator.core.drill_record import DrillRecord
from checkpointheal_operator.core.findings import Finding, findings
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.records import advance, prune
from checkpointheal_operator.core.status import Condition
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.shell.cluster import (
    CHECKPOINTHEALS,
    EVENTS,
    HEALS,
    PODS,
    AlreadyThere,
    Cluster,
    ClusterError,
    Conflict,
    Ref,
)
from checkpointheal_operator.shell.gather import POLICY_LABEL, policy_label
from checkpointheal_operator.shell.objects import JobObjects, known_heal
from checkpointheal_operator.shell.telling import (
    Told,
    drill_event,
    epoch_events,
    event,
    held_event,
    is_job_due,
    is_job_news,
    is_progress_due,
    is_progress_news,
    is_told_held,
    job_status,
    progress,
    standing_back_status,
)

log = logging.getLogger("checkpointheal.operator")

OF_THE_EPOCH = (Reason.PROBATION_DIFFERS, Reason.REPLICAS_DIFFER, Reason.MEMBERS_DISAGREE)
"""What is told at a member's pod once for each epoch."""
OWED_AT_MOST = 50
"""Events of one job: where they are refused for good, the log alone has the older ones."""


class Desk:
    """One job's objects as they were last read or written. Every method raises ClusterError; then read again."""

    def __init__(self, cluster: Cluster, objects: JobObjects, owed: dict[str, Json] | None = None) -> None:
        """`owed`: Events that could not be made, by name, of earlier looks and of this one."""
        self._cluster = cluster
        self._owed = {} if owed is None else owed
        self._policy = objects.policy
        self._heals = {name: each.object for name, each in objects.heals.items()}

    async def apply(self, decision: Decision, view: JobView, now: float) -> JobView:
        """Write `decision` down, which was made of `view`. The view that comes back is what stands there now."""
        after = advance(view, decision, now)
        match decision:
            case OpenHeal():
                await self._open(_record(after, decision.name), after)
            case Assign():
                await self._assign(_record(after, decision.heal))
            case BeginEpoch() | LeaveEpoch() | Restart():
                await self._write_job(Told(after, now))
            case EndEpoch():
                await self._tell_of_epoch(Told(after, now), _failed(decision))
                await self._write_job(Told(after, now))
            case Conclude():
                await self._conclude(_record(after, decision.heal), Told(after, now))
            case Nothing() | Wait():
                pass
            case _:
                assert_never(decision)
        return after

    async def tell(self, view: JobView, now: float, last: Decision | None = None) -> None:
        """Write what people should know though nothing was decided, and drop heals that are history.

        `last`: what was decided last, such as a wait.
        """
        said = Told(view, now, last)
        if is_job_due(said, self._policy):
            found = [each for each in findings(at(view, now)) if each.reason in OF_THE_EPOCH]
            await self._tell_of_epoch(said, found)
            await self._write_job(said)
        for record in view.heals:
            if record.is_open:
                await self._tell_progress(said, record)
        kept = {each.name for each in prune(view.heals, self._policy.spec.history_limit)}
        for name in sorted(self._heals.keys() - kept):
            await self._drop(self._heals[name])
        await self._announce_owed()

    async def _tell_progress(self, said: Told, record: HealRecord) -> None:
        """The Event first, as at the end: what the status says is not told again."""
        stored = self._heals[record.name]
        if not is_progress_due(said, record, stored):
            return
        status = progress(said, record, stored)
        if is_told_held(status) and not is_told_held(stored.status):
            await self._announce(held_event(record, stored, said))
        if is_progress_news(status, stored.status):
            await self._patch_heal(record.name, {"status": status.patch()}, status=True)

    async def _tell_of_epoch(self, said: Told, found: Iterable[Finding]) -> None:
        """The Events first: once the status says it, nobody comes back for them."""
        for body in epoch_events(said, self._policy.metadata.namespace, found):
            await self._announce(body)

    async def drill(self, record: DrillRecord, said: Told) -> JobView:
        """Write down that a drill began or ended. The Event first, as at the end of a heal."""
        after = said.view.but(drill=record)
        if not record.is_open:
            await self._announce(drill_event(record, self._policy, said.now))
        await self._write_job(replace(said, view=after))
        return after

    async def stand_back(self, found: tuple[Condition, ...], now: float, drill: DrillRecord | None = None) -> None:
        """Tell why the job is left alone, and that its drill ended or was refused for that; do nothing else."""
        status = standing_back_status(found, now, self._policy)
        if drill is not None:
            await self._announce(drill_event(drill, self._policy, now))
            status = status.but(drill=drill_status(drill))
        if drill is not None or is_job_news(status, self._policy.status):
            await self._write_status(status)

    async def _open(self, record: HealRecord, view: JobView) -> None:
        body = self._new_heal(record, view)
        try:
            stored = await self._cluster.create(HEALS, body)
        except AlreadyThere:
            await self._clear_way(record.name)
            stored = await self._cluster.create(HEALS, body)
        self._heals[record.name] = Heal.model_validate(stored)

    async def _clear_way(self, name: str) -> None:
        """An open heal of that name is the same one; a concluded one of ours, or one that cannot be read, gives way.

        So does one that is nobody's: whoever deletes a CheckpointHeal and lets its heals stay leaves them without one.
        """
        found = await self._cluster.get(self._ref(name))
        owners = {owner.get("uid") for owner in found["metadata"].get("ownerReferences") or ()}
        if owners and self._policy.metadata.uid not in owners:
            raise Conflict(f"heal {name} belongs to another CheckpointHeal, or to one that was deleted")
        if owners and _is_open(found):
            raise Conflict(f"heal {name} is open already")
        await self._cluster.delete(self._ref(name), found["metadata"]["uid"])
        self._heals.pop(name, None)

    def _new_heal(self, record: HealRecord, view: JobView) -> Json:
        pod = next((each.name for each in view.pods if each.uid == record.pod_uid), "")
        policy = self._policy.metadata
        owner = {
            "apiVersion": CHECKPOINTHEALS.api,
            "kind": CHECKPOINTHEALS.kind,
            "name": policy.name,
            "uid": policy.uid,
        }
        return {
            "apiVersion": HEALS.api,
            "kind": HEALS.kind,
            "metadata": {
                "name": record.name,
                "namespace": policy.namespace,
                "labels": {POLICY_LABEL: policy_label(policy.name)},
                "ownerReferences": [owner],
            },
            "spec": heal_spec(record, pod, view.epoch.number).body(),
        }

    async def _assign(self, record: HealRecord) -> None:
        """Not to a donor that is gone though the watch has not told of it: its pod is read at this moment."""
        for donor in record.assignment.donors[:1] if record.assignment else ():
            found = await self._cluster.get(Ref(PODS, self._policy.metadata.namespace, pod_name(donor.pod)))
            if found["metadata"]["uid"] != pod_of(donor.pod_uid):
                raise Conflict(f"donor {donor.pod} was replaced")
        assigned = assignment_spec(record)
        await self._patch_heal(record.name, {"spec": {"assignment": assigned.patch() if assigned else None}})

    async def _conclude(self, record: HealRecord, said: Told) -> None:
        """The Event first: once the status says that it is over, nobody comes back for it."""
        stored = self._heals[record.name]
        await self._announce(event(record, stored, said.now))
        await self._patch_heal(record.name, {"status": progress(said, record, stored).patch()}, status=True)

    async def _announce(self, body: Json) -> None:
        """An Event, at once or with what is told later: no heal waits for a word to people."""
        name = body["metadata"]["name"]
        try:
            await self._make(body)
        except ClusterError as error:
            facts = about(namespace=self._policy.metadata.namespace, policy=self._policy.metadata.name)
            log.warning("an Event could not be made (%s): %s: %s", error, body["reason"], body["message"], extra=facts)
            self._owed[name] = body
            for oldest in list(self._owed)[:-OWED_AT_MOST]:
                del self._owed[oldest]

    async def _announce_owed(self) -> None:
        for name, body in list(self._owed.items()):
            await self._make(body)
            del self._owed[name]

    async def _make(self, body: Json) -> None:
        with contextlib.suppress(AlreadyThere):
            await self._cluster.create(EVENTS, body)

    async def _write_job(self, said: Told) -> None:
        await self._write_status(job_status(said, self._policy))

    async def _write_status(self, status: CheckpointHealStatus) -> None:
        body = {"status": status.patch()}
        ref = Ref(CHECKPOINTHEALS, self._policy.metadata.namespace, self._policy.metadata.name)
        stored = await self._cluster.patch(ref, _under(self._policy, body), status=True)
        self._policy = CheckpointHeal.model_validate(stored)

    async def _patch_heal(self, name: str, body: Json, *, status: bool = False) -> None:
        stored = await self._cluster.patch(self._ref(name), _under(self._heals[name], body), status=status)
        self._heals[name] = Heal.model_validate(stored)

    async def _drop(self, heal: Heal) -> None:
        await self._cluster.delete(self._ref(heal.metadata.name), heal.metadata.uid)
        del self._heals[heal.metadata.name]

    def _ref(self, heal: str) -> Ref:
        return Ref(HEALS, self._policy.metadata.namespace, heal)


def _record(view: JobView, name: str) -> HealRecord:
    return next(each for each in view.heals if each.name == name)


def _failed(decision: EndEpoch) -> Iterator[Finding]:
    """Those whose probation ended the epoch."""
    for member in decision.lost if decision.sound is not None else ():
        yield Finding(member, decision.reason, decision.message)


def _under(stored: CheckpointHeal | Heal, body: Json) -> Json:
    """Only if nobody has written since."""
    return {"metadata": {"resourceVersion": stored.metadata.resource_version}, **body}


def _is_open(found: Json) -> bool:
    known = known_heal(found)
    return known is not None and known.record.is_open
