"""What is wrong, with whom: who is lost to the open epoch, and what else is worth knowing.

Each rule stands on its own facts. A loss carries the time from which it counts, so that a grace is one comparison and
the wait for it has an end.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import AgentReport, TrainerExit, TrainerFacts
from checkpointheal.contract.seats import pod_name
from checkpointheal.contract.trainer import EXIT_EPOCH_OVER
from checkpointheal_operator.core.moment import Moment, Place
from checkpointheal_operator.core.probation import differences
from checkpointheal_operator.core.protection import flaws_of
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.view import EpochMember, Heard, PodFacts, Stranger

CLEARS_WITHIN = 30.0
"""Seconds that a kubelet may take to clear away a pod whose time is over."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a member."""

    member: MemberId
    reason: Reason
    message: str


@dataclass(frozen=True)
class Loss(Finding):
    """A member that is not in the epoch any more, from `at` on."""

    at: float = float("-inf")
    restart: str | None = None


def losses(moment: Moment) -> tuple[Loss, ...]:
    """Every member that the open epoch has lost or is about to lose, in order."""
    found = [_loss(moment, known) for known in moment.view.epoch.members]
    found += [_newcomer(moment, member) for member in moment.members]
    return tuple(sorted((each for each in found if each), key=lambda loss: loss.member))


def stuck(moment: Moment) -> tuple[Loss, ...]:
    """Every trainer that stands still, or outlives its epoch, and that nobody was told to restart yet."""
    found = [_stopped(moment, place) or _overdue(moment, place) for place in moment.places.values()]
    told = moment.view.epoch.restarts
    return tuple(sorted((each for each in found if each and each.restart not in told), key=lambda loss: loss.member))


def findings(moment: Moment) -> tuple[Finding, ...]:
    """What is amiss though it decides nothing, in order of members."""
    found = [finding for member in moment.members for finding in _findings(moment, moment.places[member])]
    found += [Finding(each.member, Reason.NO_ROOM, message) for each, message in beyond(moment)]
    found += [Finding(each.pod.member, Reason.OTHER_JOB, strange(each)) for each in moment.view.strangers]
    apart = (Finding(member, Reason.PROBATION_DIFFERS, message) for member, message in differences(moment))
    return tuple(sorted((*found, *apart), key=lambda finding: finding.member))


def missing(moment: Moment, member: MemberId) -> tuple[Reason, str]:
    """Nobody holds this place; where one before it may hold its pod back, which one."""
    first = moment.holding_back
    if first is not None and first.member < member:
        reason = Reason.HELD_BY_ORDERED_READY
        return reason, reason.tell(member=member, pod=pod_name(first.name))
    return Reason.MEMBER_MISSING, Reason.MEMBER_MISSING.tell(member=member)


def taken(place: Place) -> Mapping[str, str]:
    """By its uid, each older pod that nobody takes away, and that its place is a newer one's."""
    newer = place.pod.name if place.pod is not None else ""
    told = Reason.PLACE_TAKEN.tell
    return {each.uid: told(older=each.name, newer=newer, member=place.member) for each in place.rivals}


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


def how_it_ended(exit_: TrainerExit | None) -> str:
    """The end of a trainer, in words."""
    if exit_ is None:
        return "how is not known yet"
    if exit_.signal is not None:
        return f"signal {exit_.signal}"
    return f"code {exit_.code}"


def _loss(moment: Moment, known: EpochMember) -> Loss | None:
    """The trainer of a `known` member left, or its pod did. A silent agent alone is no loss: training goes on.

    Whose pod is made anew once it was done is let wait while others have steps to do. A pod that is not told of may be
    there and train, without the label by which it was: its agent has its time to have its first word with this leader.
    """
    place, heard = moment.places[known.member], moment.heard.get(known.pod_uid)
    if place.is_done or moment.said_done(known):
        return None
    if place.pod is None:
        policy = moment.view.policy
        at = heard.at + policy.agent_silence if heard else moment.view.leader_since + policy.report_deadline
        return Loss(known.member, Reason.POD_LOST, Reason.POD_LOST.tell(member=known.member), at)
    if place.pod.uid != known.pod_uid:
        message = Reason.POD_REPLACED.tell(member=known.member, pod=place.pod.name)
        return Loss(known.member, Reason.POD_REPLACED, message)
    return _trainer_loss(moment, known, heard) if heard else None


def _trainer_loss(moment: Moment, known: EpochMember, heard: Heard) -> Loss | None:
    trainer, member = heard.report.trainer, known.member
    number = moment.view.epoch.number
    if trainer.state == "absent" or trainer.incarnation != known.incarnation:
        if _is_forgetful(known, heard.report) and not moment.is_fresh(known.pod_uid):
            return None
        seen = trainer.exit  # perhaps of the life before: that it is gone is known before how it ended
        ended = seen if seen is not None and seen.incarnation == known.incarnation else None
        message = Reason.TRAINER_GONE.tell(member=member, how=how_it_ended(ended))
        return Loss(member, Reason.TRAINER_GONE, message, _agent_grace(moment, known, heard))
    if trainer.state == "stopped":
        return _stopped(moment, moment.places[member])
    if trainer.state == "training" and trainer.epoch != number:
        message = Reason.NOT_IN_EPOCH.tell(member=member, theirs=trainer.epoch, epoch=number)
        return Loss(member, Reason.NOT_IN_EPOCH, message)
    if trainer.state == "waiting":
        return _waiting_loss(moment, known, heard.report)
    return None


def _waiting_loss(moment: Moment, known: EpochMember, report: AgentReport) -> Loss | None:
    """A trainer may wait for the answer that the epoch holds for it, but not ask anew nor wait for ever.

    One whose agent is silent may train by now, and nothing could begin without it anyway.
    """
    if (report.agent, report.trainer.request) != (known.agent, known.request):
        return Loss(known.member, Reason.TRAINER_WAITS, Reason.TRAINER_WAITS.tell(member=known.member))
    if not moment.is_fresh(known.pod_uid):
        return None
    budget = moment.view.policy.restore_budget
    message = Reason.JOIN_OVERDUE.tell(member=known.member, budget=budget)
    asked_at = max(moment.view.epoch.began_at or 0.0, moment.view.leader_since)  # the clock may have been another one's
    return Loss(known.member, Reason.JOIN_OVERDUE, message, asked_at + budget)


def _agent_grace(moment: Moment, known: EpochMember, heard: Heard) -> float:
    """An agent that has just been restarted has not heard of its trainer yet: it gets as long as a silent one."""
    forgetful = _is_forgetful(known, heard.report)
    return heard.agent_since + moment.view.policy.agent_silence if forgetful else float("-inf")


def _is_forgetful(known: EpochMember, report: AgentReport) -> bool:
    """It has started since the epoch began, and knows of no trainer: where it falls silent too, that tells nothing."""
    return report.agent != known.agent and report.trainer.exit is None and report.trainer.incarnation is None


def _stopped(moment: Moment, place: Place) -> Loss | None:
    if place.heard is None or place.heard.report.trainer.state != "stopped":
        return None
    grace = moment.view.policy.stopped_grace
    return Loss(
        place.member,
        Reason.TRAINER_STOPPED,
        Reason.TRAINER_STOPPED.tell(member=place.member, grace=grace),
        place.heard.trainer_since + grace,
        place.heard.report.trainer.incarnation,
    )


def _overdue(moment: Moment, place: Place) -> Loss | None:
    """A trainer ends itself, by force if need be; one that hangs on its way out has no thread left to do it."""
    epoch, policy = moment.view.epoch, moment.view.policy
    if epoch.open or epoch.ended_at is None or not place.fresh or place.heard is None:
        return None
    trainer = place.heard.report.trainer
    if trainer.state != "training" or not 0 < trainer.epoch <= epoch.number:
        return None
    told_at = max(epoch.ended_at, place.heard.trainer_since, place.heard.agent_since)
    return Loss(
        place.member,
        Reason.END_OVERDUE,
        Reason.END_OVERDUE.tell(member=place.member, deadline=policy.epoch_end_deadline),
        told_at + policy.epoch_end_deadline + policy.stopped_grace,
        trainer.incarnation,
    )


def _newcomer(moment: Moment, member: MemberId) -> Loss | None:
    """Who was left out is not new: it is taken in at the next commit, and costs nobody a step."""
    epoch = moment.view.epoch
    is_known = epoch.member(member) is not None or epoch.absence(member) is not None
    if is_known or not moment.places[member].is_waiting:
        return None
    return Loss(member, Reason.MEMBERSHIP_CHANGED, Reason.MEMBERSHIP_CHANGED.tell(member=member))


def _findings(moment: Moment, place: Place) -> Iterator[Finding]:
    if place.is_done:
        return
    yield from _of_absence(moment, place)
    if place.pod is not None:
        yield from _of_pod(moment, place, place.pod)


def _of_absence(moment: Moment, place: Place) -> Iterator[Finding]:
    member, epoch, reason = place.member, moment.view.epoch, Reason.LEFT_OUT
    left = epoch.absence(member) if epoch.open else None
    if left is not None:
        yield Finding(member, reason, reason.tell(member=member, epoch=epoch.number, since=left.since))
    elif place.pod is None:
        yield Finding(member, *missing(moment, member))
    trainer = place.report.trainer if place.report else None
    if moment.view.policy.may_be_short and trainer is not None and trainer.request and not trainer.goes_on:
        yield Finding(member, Reason.NEEDS_EVERYONE, Reason.NEEDS_EVERYONE.tell(member=member))


def _of_pod(moment: Moment, place: Place, pod: PodFacts) -> Iterator[Finding]:
    member, heard, trouble = place.member, place.heard, pod.trouble
    for message in taken(place).values():
        yield Finding(member, Reason.PLACE_TAKEN, message)
    if pod.terminating:
        reason, message = going(moment, place, pod)
        yield Finding(member, reason, message)
        if reason == Reason.HELD_BY_LOST_NODE:
            return
    if trouble is not None and not place.fresh:  # one that speaks is at work, whatever its pod's object still says
        yield Finding(member, trouble.reason, trouble.message)
    if heard is None:
        if trouble is None:
            yield Finding(member, Reason.NOT_HEARD_FROM, Reason.NOT_HEARD_FROM.tell(member=member))
        return
    if not place.fresh:
        message = Reason.AGENT_SILENT.tell(member=member, age=moment.age(heard))
        yield Finding(member, Reason.AGENT_SILENT, message)
    elif _stays_away(moment, place, pod):
        yield Finding(member, Reason.NOT_WAITING, not_waiting(place))
    for flaw in flaws_of(heard.report, member):
        yield Finding(member, flaw.reason, flaw.message)


def _stays_away(moment: Moment, place: Place, pod: PodFacts) -> bool:
    """Everybody waits for its trainer, which has had its time to come.

    Counted from what stands in the API, so that no new leader, and no start that fails, begins the time anew.
    """
    epoch = moment.view.epoch
    is_in = epoch.open and epoch.member(place.member) is not None
    if is_in or pod.terminating or place.report is None or place.report.trainer.state not in ("absent", "starting"):
        return False
    turned = epoch.began_at if epoch.open else epoch.ended_at
    return moment.now >= max(pod.seen_since, turned or 0.0) + moment.view.policy.report_deadline
