"""What do the API objects of one job say? From JSON to a `JobView`, and nothing of our own in between.

Pure: the same objects and reports give the same view, so a new leader begins where the old one was. Must not know how
they were read.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.api.base import Json, seconds_of
from checkpointheal_operator.api.checkpointheal import CheckpointHeal, policy_of
from checkpointheal_operator.api.epoch_record import epoch_record, remembered
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.api.heal_record import heal_record, with_epoch
from checkpointheal_operator.core.hearing import remember
from checkpointheal_operator.core.view import EpochRecord, HealRecord, Heard, JobView, PodFacts

log = logging.getLogger("checkpointheal.operator")

ZONE = "topology.kubernetes.io/zone"

Identify = Callable[[Json], MemberId | None]
"""Which place a pod claims; None: it does not say."""


@dataclass(frozen=True)
class JobObjects:
    """One job as the API server has it."""

    policy: CheckpointHeal
    heals: Mapping[str, Heal] = field(default_factory=dict)
    pods: tuple[Json, ...] = ()


@dataclass(frozen=True)
class Listening:
    """What only the leader knows: since when it leads, and what it was told since."""

    leader_since: float
    heard: tuple[Heard, ...] = ()


def view_of(objects: JobObjects, listening: Listening, identify: Identify, now: float) -> JobView:
    """The job at `now`, in seconds since 1970. Reports of pods that never were the job's are left out."""
    pods = tuple(pod_facts(objects.pods, identify))
    status = objects.policy.status
    epoch = epoch_record(status)
    heals = tuple(with_epoch(heal_record(each), status.epoch) for each in objects.heals.values())
    view = JobView(
        job=objects.policy.metadata.name,
        policy=policy_of(objects.policy.spec, _replicas_seen(pods, epoch)),
        leader_since=listening.leader_since,
        pods=pods,
        heard=tuple(_ours(listening.heard, pods, epoch, heals)),
        epoch=epoch,
        heals=heals,
        remembered=tuple(map(remembered, status.remembered)),
    )
    return remember(view, now)


def pod_facts(pods: Iterable[Json], identify: Identify) -> Iterator[PodFacts]:
    """Each pod that claims a place. A failed one claims none: its memory is gone, only its object is left."""
    for pod in pods:
        phase = pod.get("status", {}).get("phase")
        member = None if phase == "Failed" else identify(pod)
        if member is not None:
            yield _facts(pod, member, finished=phase == "Succeeded")


def heals_of(policy: CheckpointHeal, heals: Iterable[Json]) -> dict[str, Heal]:
    """The heals that this policy owns. One that cannot be read is left out and told: it is opened anew."""
    found: dict[str, Heal] = {}
    for each in heals:
        owners = each["metadata"].get("ownerReferences", ())
        if any(owner.get("uid") == policy.metadata.uid for owner in owners):
            try:
                found[each["metadata"]["name"]] = Heal.model_validate(each)
            except ValidationError as error:
                log.warning("heal %s cannot be read: %s", each["metadata"]["name"], error)
    return found


def _facts(pod: Json, member: MemberId, *, finished: bool) -> PodFacts:
    metadata = pod["metadata"]
    return PodFacts(
        member=member,
        name=metadata["name"],
        uid=metadata["uid"],
        node=pod.get("spec", {}).get("nodeName", ""),
        zone=metadata.get("labels", {}).get(ZONE, ""),
        terminating="deletionTimestamp" in metadata,
        finished=finished,
        seen_since=seconds_of(metadata["creationTimestamp"]),
    )


def _replicas_seen(pods: Iterable[PodFacts], epoch: EpochRecord) -> int:
    """A replica whose pods are away for a moment still counts, once it was in an epoch."""
    members = [pod.member for pod in pods] + [each.member for each in epoch.members]
    return max((each.replica for each in members), default=-1) + 1


def _ours(
    heard: Iterable[Heard], pods: Iterable[PodFacts], epoch: EpochRecord, heals: Iterable[HealRecord]
) -> Iterator[Heard]:
    uids = {pod.uid for pod in pods} | {each.pod_uid for each in epoch.members} | {heal.pod_uid for heal in heals}
    return (each for each in heard if each.report.pod_uid in uids)
