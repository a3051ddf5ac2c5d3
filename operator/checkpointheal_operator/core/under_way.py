"""Is the open epoch over, is it to be left, or is it well?

A healthy epoch is left alone, whatever its agents fail to say. Must not know what comes after it.
"""

from collections.abc import Sequence

from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core import absence, probation
from checkpointheal_operator.core.decisions import Decision, EndEpoch, LeaveEpoch, Nothing, Restart, Wait
from checkpointheal_operator.core.losses import Loss, as_of, losses, stuck
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.reasons import Reason, named


def under_way(moment: Moment) -> Decision:
    """What there is to do about it now; Nothing where all train."""
    found, number = losses(moment), moment.view.epoch.number
    lost = [loss for loss in found if loss.at <= moment.now]
    if lost:
        return _take_in(moment) if _have_left(moment, lost) else end_for_lost(number, lost)
    if failures := probation.failures(moment):
        return _end_for(number, failures)
    aside = _stuck_aside(moment)
    if due := [loss for loss in aside if loss.at <= moment.now]:
        return _restart(number, due)
    if found:
        return _expect(moment, (*found, *aside))
    if (back := absence.returned(moment)) and not moment.view.epoch.leaving:
        return _leave(moment, back)
    if back and all(moment.places[each.member].is_done for each in moment.view.epoch.members):
        return _take_in(moment)
    if aside:
        return _expect(moment, aside)
    return Nothing(reason=Reason.ALL_TRAIN, message=Reason.ALL_TRAIN.tell(epoch=number))


def end_for_lost(number: int, lost: Sequence[Loss]) -> EndEpoch:
    """Epoch `number` is over for these losses, one at least; the first says why."""
    return EndEpoch(
        epoch=number,
        lost=tuple(loss.member for loss in lost),
        restart_trainer=_restarts(lost),
        reason=lost[0].reason,
        message=lost[0].message,
    )


def _stuck_aside(moment: Moment) -> tuple[Loss, ...]:
    """Trainers of those left out that stand still: nobody waits for them, and they would never come in."""
    return tuple(loss for loss in stuck(moment) if moment.view.epoch.absence(loss.member) is not None)


def _restart(number: int, due: Sequence[Loss]) -> Restart:
    return Restart(epoch=number, restart_trainer=_restarts(due), reason=due[0].reason, message=due[0].message)


def _restarts(losses: Sequence[Loss]) -> tuple[str, ...]:
    return tuple(loss.restart for loss in losses if loss.restart)


def _leave(moment: Moment, back: tuple[MemberId, ...]) -> LeaveEpoch:
    number, reason = moment.view.epoch.number, Reason.MEMBER_RETURNS
    message = reason.tell(members=named(back), epoch=number)
    return LeaveEpoch(epoch=number, back=back, reason=reason, message=message)


def _have_left(moment: Moment, lost: list[Loss]) -> bool:
    """They did as they were told: who asks anew is not lost."""
    return moment.view.epoch.leaving and all(loss.reason == Reason.TRAINER_WAITS for loss in lost)


def _take_in(moment: Moment) -> EndEpoch:
    epoch = moment.view.epoch
    return EndEpoch(epoch=epoch.number, lost=(), reason=Reason.MEMBER_RETURNS, message=epoch.message)


def _end_for(number: int, failures: tuple[probation.Failure, ...]) -> EndEpoch:
    """Whatever was computed since is worth nothing: gradients of the wrong memory are in everybody's weights."""
    return EndEpoch(
        epoch=number,
        lost=tuple(each.member for each in failures),
        sound=min(each.sound for each in failures),
        reason=Reason.PROBATION_FAILED,
        message="; ".join(each.message for each in failures),
    )


def _expect(moment: Moment, found: tuple[Loss, ...]) -> Wait:
    next_loss = min(found, key=lambda loss: loss.at)
    reason, message = as_of(moment.now, next_loss)
    return Wait(until=next_loss.at, reason=reason, message=message)
