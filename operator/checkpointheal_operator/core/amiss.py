"""What is said of a place where nobody trains, or of a pod that has none?

One sentence for each, whoever tells it: orders, conditions, a wait. Must not know when it is told.
"""

from collections.abc import Iterator, Mapping

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import TrainerFacts
from checkpointheal.contract.seats import pod_name
from checkpointheal.contract.trainer import EXIT_EPOCH_OVER
from checkpointheal_operator.core.facts import PodFacts, Stranger
from checkpointheal_operator.core.losses import how_it_ended
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.reasons import Reason

CLEARS_WITHIN = 30.0
"""Seconds that a kubelet may take to clear away a pod whose time is over."""


def missing(moment: Moment, member: MemberId) -> tuple[Reason, str]:
    """Nobody holds this place; where one before it may hold its pod back, which one."""
    first = moment.holding_back
    if first is not None and first.member < member:
        reason = Reason.HELD_BY_ORDERED_READY
        return reason, reason.tell(member=member, pod=pod_name(first.name))
    return Reason.MEMBER_MISSING, Reason.MEMBER_MISSING.tell(member=member)


def taken(place: Place) -> Mapping[str, str]:
    """By its uid, each pod that nobody takes away, and that its place is another one's."""
    holder = place.pod.name if place.pod is not None else ""
    told = Reason.PLACE_TAKEN.tell
    return {each.uid: told(other=each.name, holder=holder, member=place.member) for each in place.rivals}


def beyond(moment: Moment) -> Iterator[tuple[PodFacts, str]]:
    """Each pod at work that claims a place which the layout does not have, and what helps."""
    for place in moment.places.values():
        if place.pod is not None and place.pod.is_at_work and not moment.has_room_for(place.member):
            names = {"pod": pod_name(place.pod.name), "member": place.member}
            yield place.pod, Reason.NO_ROOM.tell(replicas=moment.view.policy.replicas, **names)


def strange(found: Stranger) -> str:
    """Whose pod it is, and what helps."""
    return Reason.OTHER_JOB.tell(pod=pod_name(found.pod.name), theirs=found.job, job=found.ours)


def going(moment: Moment, place: Place, pod: PodFacts) -> tuple[Reason, str]:
    """Its pod is on its way out; or it stays for good, because the kubelet that would end it is gone.

    Nothing is ended for it: a node that only the API server does not reach may train on.
    """
    over = moment.now - pod.ends_at if pod.ends_at is not None and not place.fresh else 0.0
    if over < CLEARS_WITHIN or moment.now < moment.report_due(pod):
        return Reason.DRAINING, Reason.DRAINING.tell(member=place.member)
    reason, node = Reason.HELD_BY_LOST_NODE, pod.node or "of no name"
    return reason, reason.tell(member=place.member, pod=pod_name(pod.name), node=node, age=over)


def not_waiting(place: Place) -> str:
    """That its trainer is not in restore(), and why, as far as anybody knows."""
    trainer = place.report.trainer if place.report else TrainerFacts()
    said = Reason.NOT_WAITING.tell(member=place.member, trainer=trainer.state)
    if place.pod is not None and place.pod.trainer_ails:
        return f"{said}; its container in pod {pod_name(place.pod.name)}: {place.pod.trainer_ails}"
    failed = trainer.exit is not None and not trainer.exit.told and trainer.exit.code != EXIT_EPOCH_OVER
    return f"{said}; it ended last with {how_it_ended(trainer.exit)}" if failed else said
