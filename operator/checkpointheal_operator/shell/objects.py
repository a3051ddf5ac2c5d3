"""What do the API objects of one job say? From JSON to a `JobView`, and nothing of our own in between.

Pure: the same objects and reports give the same view, so a new leader begins where the old one was. Must not know how
they were read.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import ValidationError

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.log_lines import about
from checkpointheal.contract.seats import pod_name
from checkpointheal_operator.api.base import Json, seconds_of
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.api.drill_record import asked, drill_record
from checkpointheal_operator.api.epoch_record import epoch_record, remembered
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.api.heal_record import heal_record, with_epoch
from checkpointheal_operator.api.policy import policy_of
from checkpointheal_operator.api.told import is_done
from checkpointheal_operator.core.epoch_record import EpochRecord
from checkpointheal_operator.core.facts import Heard, PodFacts, Stranger
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.hearing import remember
from checkpointheal_operator.core.identity import RANKS, Placed, Unplaced, place
from checkpointheal_operator.core.pod_manifest import Metadata
from checkpointheal_operator.core.pod_trouble import condition, not_begun, passed_over, trouble
from checkpointheal_operator.core.trainer_ails import trainer_ails
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.shell.overlap import Overlap

log = logging.getLogger("checkpointheal.operator")

ZONE = "topology.kubernetes.io/zone"
LEADER_WORKER_SET = "leaderworkerset.sigs.k8s.io/name"
"""On pods of StatefulSets that make all of theirs at once."""
REVISIONS = (
    "controller-revision-hash",
    "pod-template-hash",
    "leaderworkerset.sigs.k8s.io/template-revision-hash",
)
"""Labels that differ between pods of two templates: of a StatefulSet, a Deployment, a LeaderWorkerSet."""


class KnownHeal(NamedTuple):
    """A heal as it stands there, and as the core knows it."""

    object: Heal
    record: HealRecord


class KnownPod(NamedTuple):
    """A pod that claims places, or none: its marks, which tell them, and what else is known of each of its seats."""

    object: Json
    marks: Mapping[str, str]
    where: Placed | Unplaced
    facts: tuple[PodFacts, ...]


@dataclass(frozen=True)
class JobObjects:
    """One job as the API server has it."""

    policy: CheckpointHeal
    heals: Mapping[str, KnownHeal] = field(default_factory=dict)
    pods: tuple[KnownPod, ...] = ()
    strays: tuple[KnownPod, ...] = ()
    """Pods of the latest epoch that the policy selects no more."""
    overlap: Overlap | None = None
    """An older policy that has taken some of the pods: they are its, and the job is left alone."""


@dataclass(frozen=True)
class Listening:
    """What only the leader knows: since when it leads, and what the agents of the job's namespace told it since."""

    leader_since: float
    heard: tuple[Heard, ...] = ()
    unlisted: frozenset[str] = frozenset()
    """Seats that speak from pods which are there, but not among those that opted in."""
    served: bool = True
    """Whether the webhook serves that namespace."""


def view_of(objects: JobObjects, listening: Listening, now: float) -> JobView:
    """The job at `now`, in seconds since 1970. Reports of pods that never were the job's are left out."""
    status = objects.policy.status
    job, pods = claims(objects)
    epoch = epoch_record(status)
    heals = tuple(with_epoch(each.record, status.epoch) for each in objects.heals.values())
    seen = [pod.member for pod in pods] + [each.member for each in epoch.members]
    view = JobView(
        job=job,
        known_as=status.job,
        policy=policy_of(objects.policy.spec, seen, _annotated_ranks(objects)),
        leader_since=listening.leader_since,
        pods=pods if listening.served else tuple(map(_passed_over, pods)),
        strangers=tuple(_strangers(objects, job, pods)),
        heard=tuple(_ours(listening.heard, job, pods, epoch)),
        epoch=epoch,
        heals=heals,
        remembered=tuple(map(remembered, status.remembered)),
        was_done=was_done(objects),
        drill=drill_record(status.drill),
        drill_asked=asked(objects.policy.metadata),
    )
    return remember(view, now)


def _passed_over(pod: PodFacts) -> PodFacts:
    return pod.but(trouble=passed_over(pod.trouble, pod_name(pod.name)))


def claims(objects: JobObjects) -> tuple[str, tuple[PodFacts, ...]]:
    """The job under the policy and the seats that claim a place in it.

    Of several jobs it is the one that it was, else the one of the oldest pod: a second job that the selector takes by
    mistake must neither receive the first one's state nor end its epoch. Pods of one that is done, which only lie
    there, keep no other one out.
    """
    job, pods = placed(objects)
    return job, tuple(each for _, pod in pods for each in pod.facts)


def placed(objects: JobObjects) -> tuple[str, tuple[tuple[Placed, KnownPod], ...]]:
    """The job, and its pods with the places that their own marks tell, as their agents and certificates have them."""
    found = [(pod.where, pod) for pod in objects.pods if not _has_failed(pod.object)]
    known_places = [(where, pod) for where, pod in found if isinstance(where, Placed)]
    known = objects.policy.status.job
    is_over = was_done(objects)
    standing = [(where, pod) for where, pod in known_places if not (is_over and lies_there(pod.object))]
    if not any(where.job == known for where, _ in standing):
        oldest = min(standing, key=lambda each: (_made_at(each[1].object), each[0].job), default=None)
        known = oldest[0].job if oldest else known
    return known, tuple((where, pod) for where, pod in known_places if where.job == known)


def _strangers(objects: JobObjects, job: str, pods: Iterable[PodFacts]) -> Iterator[Stranger]:
    """Those of other jobs that are at work. Where none of the job's own is, one of theirs is the next that counts."""
    if not any(pod.is_at_work for pod in pods):
        return
    for pod in objects.pods:
        if isinstance(pod.where, Placed) and pod.where.job != job and not lies_there(pod.object):
            yield from (Stranger(pod=facts, job=pod.where.job, ours=job) for facts in pod.facts)


def _annotated_ranks(objects: JobObjects) -> int:
    """Members per replica, as the pods were made: a replica of which only a part is there is not complete."""
    return max((int(pod.marks.get(RANKS, "1")) for _, pod in placed(objects)[1]), default=1)


def known_pod(pod: Json) -> KnownPod:
    """What it says."""
    metadata = Metadata.model_validate(pod["metadata"])
    where = place(metadata)
    if not isinstance(where, Placed):
        return KnownPod(pod, metadata.marks(), where, ())
    facts = _facts(pod, where.member).but(is_made=metadata.owner() is not None)
    return KnownPod(pod, metadata.marks(), where, facts.seated(where.seats))


def known_heal(heal: Json) -> KnownHeal | None:
    """One that cannot be read is left out and told: it is opened anew."""
    try:
        found = Heal.model_validate(heal)
        return KnownHeal(found, heal_record(found))
    except ValidationError as error:
        name = heal["metadata"]["name"]
        log.warning("heal %s cannot be read: %s", name, error, extra=about(heal=name))
        return None


def owned(policy: CheckpointHeal, heals: Iterable[Json]) -> Iterator[Json]:
    """The heals that are this policy's. There may be thousands of other ones beside them."""
    uid = policy.metadata.uid
    for each in heals:
        for owner in each["metadata"].get("ownerReferences", ()):
            if owner.get("uid") == uid:
                yield each
                break


def _made_at(pod: Json) -> float:
    return seconds_of(pod["metadata"]["creationTimestamp"])


def was_done(objects: JobObjects) -> bool:
    """Whether every member was done when that was last told."""
    return any(map(is_done, objects.policy.status.conditions))


def lies_there(pod: Json) -> bool:
    """Whether it has ended, or is on its way out."""
    return "deletionTimestamp" in pod["metadata"] or pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def _has_failed(pod: Json) -> bool:
    """Its memory is gone, only its object is left: it claims no place."""
    return bool(pod.get("status", {}).get("phase") == "Failed")


def _facts(pod: Json, member: MemberId) -> PodFacts:
    metadata, labels = pod["metadata"], pod["metadata"].get("labels", {})
    return PodFacts(
        member=member,
        name=metadata["name"],
        uid=metadata["uid"],
        node=pod.get("spec", {}).get("nodeName", ""),
        zone=labels.get(ZONE, ""),
        terminating="deletionTimestamp" in metadata,
        ends_at=seconds_of(metadata["deletionTimestamp"]) if "deletionTimestamp" in metadata else None,
        finished=pod.get("status", {}).get("phase") == "Succeeded",
        seen_since=_made_at(pod),
        revision=next((labels[each] for each in REVISIONS if each in labels), ""),
        holds_back=_is_a_statefulsets(metadata) and LEADER_WORKER_SET not in labels and _is_not_ready(pod),
        trouble=trouble(pod) or not_begun(pod),
        trainer_ails=trainer_ails(pod),
    )


def _is_a_statefulsets(metadata: Json) -> bool:
    return any(owner.get("kind") == "StatefulSet" for owner in metadata.get("ownerReferences", ()))


def _is_not_ready(pod: Json) -> bool:
    """Its kubelet says so, or has said nothing yet."""
    return condition(pod, "Ready").get("status") != "True"


def _ours(heard: Iterable[Heard], job: str, pods: Iterable[PodFacts], epoch: EpochRecord) -> Iterator[Heard]:
    """A pod that is gone is known by the job that it named: it may be the last witness of a state."""
    uids = {pod.uid for pod in pods} | {each.pod_uid for each in epoch.members}
    return (each for each in heard if each.report.job == job or each.report.pod_uid in uids)
