"""What shall the status of our objects say now?

Pure: derived from the view, the records and what stands there already. Must not know when it is written.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from checkpointheal.contract.seats import pod_name, pod_of
from checkpointheal_operator.api.base import Json, second
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.api.drill_record import drill_status
from checkpointheal_operator.api.epoch_record import epoch_status, witness
from checkpointheal_operator.api.heal import Heal, HealStatus
from checkpointheal_operator.api.heal_record import HEALED, heal_status
from checkpointheal_operator.api.job_status import CheckpointHealStatus
from checkpointheal_operator.api.told import is_done, is_news, is_said_otherwise, told
from checkpointheal_operator.core.decisions import Decision, held_by
from checkpointheal_operator.core.drill_record import DrillRecord
from checkpointheal_operator.core.facts import Trouble
from checkpointheal_operator.core.findings import Finding
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.status import Condition as Fact
from checkpointheal_operator.core.status import explain, heal_conditions, job_conditions, transfer_of
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, EVENTS, HEALS

COMPONENT = "checkpointheal"
LONGEST = 1024
"""Characters of an Event's message that the API takes."""
TOLD_EVERY = 5.0
"""Seconds between two writes of an open heal's progress; a shorter heal is told once, at its end.

And those until a job is told again that is as it was, in another sentence: of whom it waits for.
"""


LEARNT_EVERY = 60.0
"""Seconds, at least, until what was learnt of some of a job's coordinates is written by itself. Of all: at once."""


@dataclass(frozen=True)
class Told:
    """What is told, and when."""

    view: JobView
    now: float
    last: Decision | None = None
    """What was decided last, where it is not what is written."""

    @property
    def held(self) -> str:
        """Why the job waits for a person's word, where it does."""
        return held_by(self.last)


def job_status(said: Told, stored: CheckpointHeal) -> CheckpointHealStatus:
    """The whole status of the policy, its memory included."""
    update: dict[str, object] = {"observed_generation": stored.metadata.generation}
    if said.view.epoch.number:
        update["epoch"] = epoch_status(said.view.epoch, stored.status.epoch)
    return _job_news(said, stored).but(**update)


def standing_back_status(found: tuple[Fact, ...], now: float, stored: CheckpointHeal) -> CheckpointHealStatus:
    """Why the job is left alone; what its policy remembers stays as it is."""
    known = stored.status.conditions
    conditions = told(found, known, now, stored.metadata.generation) + tuple(filter(is_done, known))
    return stored.status.but(conditions=conditions, observed_generation=stored.metadata.generation, told_at=now)


def is_job_due(said: Told, stored: CheckpointHeal) -> bool:
    """Whether its status is worth a write though nothing was decided. Of most looks it is not: nothing else is made."""
    return _has_learnt(said, stored.status) or is_job_news(_job_news(said, stored), stored.status)


def is_job_news(status: CheckpointHealStatus, stored: CheckpointHealStatus) -> bool:
    """Whether it is worth a write though nothing was decided."""
    told_anew = (status.job, status.remembered) != (stored.job, stored.remembered)
    return told_anew or is_news(status.conditions, stored.conditions) or _is_told_otherwise(status, stored)


def progress(said: Told, record: HealRecord, stored: Heal) -> HealStatus:
    """The whole status of a heal; of an open one with what its agents said last.

    Why the others do not give stays as it stood at the assignment: by the end they hold, and are, something else.
    """
    if record.is_open:
        refusals = record.refusals or explain(said.view, said.now, record.recipient).refusals
        record = record.but(transfer=transfer_of(said.view, record), refusals=refusals)
    if record.is_open and said.held:
        record = record.but(reason=Reason.HELD, message=said.held)
    generation, epoch = stored.metadata.generation, said.view.epoch
    found, unknown = heal_conditions(said.view, record), (HEALED,) if record.is_open else ()
    conditions = told(found, stored.status.conditions, said.now, generation, unknown)
    update = {
        "observed_generation": generation,
        "conditions": conditions,
        "step": epoch.step if record.epoch == epoch.number else None,
        "private_step": epoch.behind.get(record.recipient) if record.epoch == epoch.number else None,
        "told_at": said.now,
    }
    assigned = stored.spec.assignment
    if assigned is not None and assigned.candidates:
        update |= {"candidates": assigned.candidates, "more_candidates": assigned.more_candidates}
    return heal_status(record, conditions).but(**update)


def is_progress_due(said: Told, record: HealRecord, stored: Heal) -> bool:
    """Whether its latest write is old enough, or it is held since and nobody was told."""
    if said.held and not is_told_held(stored.status):
        return True
    written = (record.opened_at, record.assigned_at, stored.status.told_at)
    return said.now >= max(each for each in written if each is not None) + TOLD_EVERY


def is_progress_news(status: HealStatus, stored: HealStatus) -> bool:
    """Whether it says anything else than what stands there."""
    told_anew = (status.transfer, status.candidates) != (stored.transfer, stored.candidates)
    conditions = status.conditions, stored.conditions
    return told_anew or is_news(*conditions) or is_said_otherwise(*conditions)


def is_told_held(status: HealStatus) -> bool:
    """Whether it says that the heal waits for a person's word."""
    return any((each.type, each.reason) == (HEALED, Reason.HELD) for each in status.conditions)


def held_event(record: HealRecord, stored: Heal, said: Told) -> Json:
    """That nothing goes on by itself, where `kubectl describe pod` shows it: told once for each heal."""
    notice = Notice(f"{record.name}.{Reason.HELD.lower()}", "Warning", Reason.HELD, said.held)
    return _of_recipient(record, stored, notice, said.now)


def event(record: HealRecord, stored: Heal, now: float) -> Json:
    """The verdict, where `kubectl describe pod` shows it. Its name is the verdict's, so that it is told once."""
    notice = Notice(
        f"{record.name}.{record.reason.lower()}",
        "Warning" if record.reason in (Reason.FELL_BACK, Reason.PRIVATE_STATE_BEHIND) else "Normal",
        record.reason,
        record.message,
    )
    return _of_recipient(record, stored, notice, now)


def drill_event(record: DrillRecord, stored: CheckpointHeal, now: float) -> Json:
    """How a drill ended, where `kubectl describe checkpointheal` shows it."""
    kind = "Normal" if record.passed else "Warning"
    notice = Notice(f"{record.name}.{record.reason.lower()}", kind, record.reason, record.message)
    of_policy = {"apiVersion": CHECKPOINTHEALS.api, "kind": CHECKPOINTHEALS.kind}
    metadata = stored.metadata
    said = _of_pod((metadata.namespace, metadata.name, metadata.uid), notice, now)
    return said | {"involvedObject": said["involvedObject"] | of_policy, "action": "Drill"}


def trouble_event(pod: Json, found: Trouble, now: float) -> Json:
    """What is wrong with a pod and what helps, under one name for this life of the pod and this reason."""
    metadata = pod["metadata"]
    name = f"pod-{metadata['uid']}.{found.reason.lower()}"
    notice = Notice(name, "Warning", found.reason, found.message)
    return _of_pod((metadata["namespace"], metadata["name"], metadata["uid"]), notice, now)


def epoch_events(said: Told, where: str, found: Iterable[Finding]) -> Iterator[Json]:
    """What was found of members of an epoch, at their pods; under one name for each epoch, so that it is told once."""
    pods = {each.uid: each.name for each in said.view.pods}
    for each in found:
        known = said.view.epoch.member(each.member)
        if known is not None and known.pod_uid in pods:
            name = f"pod-{known.pod_uid}.{each.reason.lower()}.{said.view.epoch.number}"
            notice = Notice(name, "Warning", each.reason, each.message)
            yield _of_pod((where, pods[known.pod_uid], known.pod_uid), notice, said.now)


class Notice(NamedTuple):
    """What an Event says."""

    name: str
    type: str
    reason: str
    message: str


def _of_recipient(record: HealRecord, stored: Heal, notice: Notice, now: float) -> Json:
    where, pod = stored.metadata.namespace, stored.spec.recipient
    heal = {"apiVersion": HEALS.api, "kind": HEALS.kind, "namespace": where, "name": record.name}
    return _of_pod((where, pod.pod, pod.pod_uid), notice, now) | {"related": heal}


def _of_pod(pod: tuple[str, str, str], notice: Notice, now: float) -> Json:
    """What concerns a seat is told of its pod: the cluster knows nothing smaller."""
    (where, name, uid), stamp = pod, second(now)
    seen = {"name": pod_name(name), "uid": pod_of(uid)}
    return {
        "apiVersion": EVENTS.api,
        "kind": EVENTS.kind,
        "metadata": {"name": notice.name, "namespace": where},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": where} | seen,
        "type": notice.type,
        "reason": notice.reason,
        "message": notice.message[:LONGEST],
        "action": "Heal",
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": COMPONENT,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }


def _job_news(said: Told, stored: CheckpointHeal) -> CheckpointHealStatus:
    """What of the status can be worth a write of its own."""
    found = job_conditions(said.view, said.now, said.last)
    return CheckpointHealStatus(
        conditions=told(found, stored.status.conditions, said.now, stored.metadata.generation),
        job=said.view.job,
        remembered=tuple(map(witness, said.view.remembered)),
        drill=drill_status(said.view.drill),
        told_at=said.now,
    )


def _has_learnt(said: Told, stored: CheckpointHealStatus) -> bool:
    """Whether it is known of members that they were alike, or differ, and does not stand there: agents may forget it.

    Where a part of that can wait it goes with the next write, for coordinates may learn it one by one.
    """
    epoch, before = said.view.epoch, stored.epoch
    if before is None or before.number != epoch.number or (epoch.alike, epoch.apart) == (before.alike, before.apart):
        return False
    is_all = len(epoch.alike) + len(epoch.apart) == said.view.policy.ranks
    return is_all or said.now >= (stored.told_at or 0.0) + LEARNT_EVERY


def _is_told_otherwise(status: CheckpointHealStatus, stored: CheckpointHealStatus) -> bool:
    """Where many come and go at once the sentence changes at every look: once in a while is enough."""
    is_due = (status.told_at or 0.0) >= (stored.told_at or 0.0) + TOLD_EVERY
    return is_due and is_said_otherwise(status.conditions, stored.conditions)
