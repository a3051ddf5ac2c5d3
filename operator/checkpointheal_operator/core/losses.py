"""Who is lost to the open epoch, and from when on?

Each rule stands on its own facts. A loss carries the time from which it counts, so that a grace is one comparison and
the wait for it has an end. Must not know what follows from a loss.
"""

from dataclasses import dataclass

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import AgentReport, TrainerExit
from checkpointheal_operator.core.epoch_record import EpochMember
from checkpointheal_operator.core.facts import Heard
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.reasons import Reason

_SEEN_SO_FAR = {
    Reason.POD_LOST: Reason.POD_GONE,
    Reason.TRAINER_GONE: Reason.TRAINER_UNKNOWN,
    Reason.TRAINER_STOPPED: Reason.STANDS_STILL,
    Reason.END_OVERDUE: Reason.STILL_TRAINING,
    Reason.JOIN_OVERDUE: Reason.JOINING,
}


@dataclass(frozen=True)
class Loss:
    """A member that is not in the epoch any more, from `at` on."""

    member: MemberId
    reason: Reason
    message: str
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


def as_of(now: float, loss: Loss) -> tuple[Reason, str]:
    """What is to be told of it: until it counts, only what is seen so far, for it may yet come to nothing."""
    if loss.at <= now or loss.reason not in _SEEN_SO_FAR:
        return loss.reason, loss.message
    seen = _SEEN_SO_FAR[loss.reason]
    return seen, seen.tell(member=loss.member)


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
