"""The reconcile as one function: view and time in, the one next action out.

The rules that live here are the order of things and the ladder. While an epoch is open: is anybody lost? Between two:
who needs a heal, where does the job go on, does everybody hold what it needs, does everybody wait? Only then does the
next one begin, at one step and on one rung for the whole job. Never raises for a view that validates.
"""

from collections.abc import Iterator, Sequence

from checkpointheal.contract.gateway import EpochOrder
from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core import absence, probation
from checkpointheal_operator.core.believed import believed
from checkpointheal_operator.core.breaker import given_up
from checkpointheal_operator.core.causes import why_lost
from checkpointheal_operator.core.decisions import (
    Assign,
    BeginEpoch,
    Decision,
    EndEpoch,
    LeaveEpoch,
    Nothing,
    OpenHeal,
    Wait,
)
from checkpointheal_operator.core.diagnosis import Loss, losses, missing, stuck
from checkpointheal_operator.core.donors import Case, due
from checkpointheal_operator.core.holding import hold
from checkpointheal_operator.core.moment import Moment, Place, at
from checkpointheal_operator.core.plan import abandonment, heal_name, heal_of, plan_assignment
from checkpointheal_operator.core.reasons import Cause, Reason, Rung
from checkpointheal_operator.core.restore import RestorePoint, highest_step, restore_point
from checkpointheal_operator.core.verdict import conclude
from checkpointheal_operator.core.view import EpochMember, HealRecord, JobView, LeftOut, Trial


def decide(view: JobView, now: float) -> Decision:
    """The one next action. Apply it, look again, decide again."""
    moment = at(view, now)
    if (verdict := conclude(moment)) is not None:
        return verdict
    if all(moment.places[member].is_done for member in moment.members):
        return Nothing(reason=Reason.ALL_DONE, message=Reason.ALL_DONE.tell())
    return _during_epoch(moment) if view.epoch.open else _between_epochs(moment)


def _during_epoch(moment: Moment) -> Decision:
    """A healthy epoch is left alone, whatever its agents fail to say."""
    found, number = losses(moment), moment.view.epoch.number
    lost = [loss for loss in found if loss.at <= moment.now]
    if lost:
        return _take_in(moment) if _have_left(moment, lost) else _end(number, lost)
    if failures := probation.failures(moment):
        return _end_for(number, failures)
    if found:
        return _expect(found)
    if (back := absence.returned(moment)) and not moment.view.epoch.leaving:
        return _leave(moment, back)
    if back and all(moment.places[each.member].is_done for each in moment.view.epoch.members):
        return _take_in(moment)
    return Nothing(reason=Reason.ALL_TRAIN, message=Reason.ALL_TRAIN.tell(epoch=number))


def _leave(moment: Moment, back: tuple[MemberId, ...]) -> LeaveEpoch:
    number, reason = moment.view.epoch.number, Reason.MEMBER_RETURNS
    message = reason.tell(members=_named(back), epoch=number)
    return LeaveEpoch(epoch=number, back=back, reason=reason, message=message)


def _have_left(moment: Moment, lost: list[Loss]) -> bool:
    """They did as they were told: who asks anew is not lost."""
    return moment.view.epoch.leaving and all(loss.reason == Reason.TRAINER_WAITS for loss in lost)


def _take_in(moment: Moment) -> EndEpoch:
    epoch = moment.view.epoch
    return EndEpoch(epoch=epoch.number, lost=(), reason=Reason.MEMBER_RETURNS, message=epoch.message)


def _end(number: int, lost: list[Loss]) -> EndEpoch:
    return EndEpoch(
        epoch=number,
        lost=tuple(loss.member for loss in lost),
        restart_trainer=tuple(loss.restart for loss in lost if loss.restart),
        reason=lost[0].reason,
        message=lost[0].message,
    )


def _end_for(number: int, failures: tuple[probation.Failure, ...]) -> EndEpoch:
    """Whatever was computed since is worth nothing: gradients of the wrong memory are in everybody's weights."""
    return EndEpoch(
        epoch=number,
        lost=tuple(each.member for each in failures),
        sound=min(each.sound for each in failures),
        reason=Reason.PROBATION_FAILED,
        message="; ".join(each.message for each in failures),
    )


def _expect(found: tuple[Loss, ...]) -> Wait:
    next_loss = min(found, key=lambda loss: loss.at)
    if next_loss.reason == Reason.JOIN_OVERDUE:
        message = Reason.JOINING.tell(member=next_loss.member)
        return Wait(until=next_loss.at, reason=Reason.JOINING, message=message)
    return Wait(until=next_loss.at, reason=next_loss.reason, message=next_loss.message)


def _between_epochs(moment: Moment) -> Decision:
    if (ended := _catch_up(moment) or _restart(moment)) is not None:
        return ended
    fewer = absence.without_the_missing(moment)
    if fewer is not None and _can_go_on(fewer):
        return _towards_the_next(fewer)
    decision, at = _towards_the_next(moment), absence.may_go_on_at(moment)
    if isinstance(decision, Wait) and at is not None and moment.now < at:
        return decision.model_copy(update={"until": at if decision.until is None else min(at, decision.until)})
    return decision


def _can_go_on(fewer: Moment) -> bool:
    """Only from memory: for a checkpoint, or a fresh start, everybody is waited for."""
    point = restore_point(fewer)
    return isinstance(point, Wait) or (point.step is not None and given_up(fewer, point) is None)


def _towards_the_next(moment: Moment) -> Decision:
    if (opened := _open_lost(moment)) is not None:
        return opened
    if (moving := _still_training(moment)) is not None:
        return moving
    point = restore_point(moment)
    if isinstance(point, Wait):
        return point
    if (opened := _open_recipients(moment, point)) is not None:
        return opened
    left = given_up(moment, point) or point
    if (held := hold(moment, left)) is None:
        point = left
    waits = [held] if held else []
    for step in _fill(moment, point):  # a job that is held goes on trying: what it waits for may come
        if isinstance(step, Assign):
            return step
        waits.append(step)
    waits += _hindrances(moment)
    return _soonest(waits) if waits else _begin(moment, point)


def _catch_up(moment: Moment) -> EndEpoch | None:
    """Records that were lost must not let two memberships live: what agents know and we do not is closed."""
    seen, known = _highest_epoch(moment), moment.view.epoch.number
    if seen <= known or not any(place.is_waiting for place in moment.places.values()):
        return None
    message = Reason.RECORDS_BEHIND.tell(seen=seen, epoch=known)
    return EndEpoch(epoch=seen, lost=(), reason=Reason.RECORDS_BEHIND, message=message)


def _highest_epoch(moment: Moment) -> int:
    seen = []
    for heard in moment.heard.values():
        seen += [heard.report.epoch_seen, heard.report.trainer.epoch]
    return max((moment.view.epoch.number, *believed(seen)))


def _restart(moment: Moment) -> EndEpoch | None:
    due_now = [loss for loss in stuck(moment) if loss.at <= moment.now and loss.restart]
    return _end(moment.view.epoch.number, due_now) if due_now else None


def _open_lost(moment: Moment) -> OpenHeal | None:
    for place in _waiting(moment):
        cause = why_lost(moment, place.member)
        if isinstance(cause, Cause) and (opened := _open(moment, place, cause)) is not None:
            return opened
    return None


def _open_recipients(moment: Moment, point: RestorePoint) -> OpenHeal | None:
    """A member that was not lost and yet cannot go on from its own memory: it is new, or its memory was refused."""
    for place in _recipients(moment, point):
        if (opened := _open(moment, place, _why_it_receives(moment, place.member))) is not None:
            return opened
    return None


def _why_it_receives(moment: Moment, member: MemberId) -> Cause:
    if moment.view.epoch.absence(member) is not None:
        return Cause.RETURNED
    return Cause.DAMAGED if moment.view.epoch.member(member) else Cause.ADDED


def _open(moment: Moment, place: Place, cause: Cause) -> OpenHeal | None:
    """A heal that ended unhealed though its request still stands, because an older word came late, is opened again."""
    report = place.report
    known = heal_of(moment, place)
    if report is None or (known is not None and (known.is_open or known.healed)):
        return None
    steps = moment.generations(report)
    return OpenHeal(
        name=heal_name(report),
        recipient=place.member,
        pod_uid=report.pod_uid,
        agent=report.agent,
        request=report.trainer.request,
        incarnation=report.trainer.incarnation or "",
        cause=cause,
        crash_step=max(steps, default=None) if cause == Cause.CRASHED else None,
        message=f"{place.member} asks for a state: {cause}",
    )


def _waiting(moment: Moment) -> Iterator[Place]:
    return (moment.places[member] for member in moment.members if moment.places[member].is_waiting)


def _recipients(moment: Moment, point: RestorePoint) -> Iterator[Place]:
    if point.step is None:
        return iter(())
    return (place for place in _waiting(moment) if point.holds(place) is None)


def _still_training(moment: Moment) -> Wait | None:
    """No step is chosen while a trainer could still seal a newer one, or overwrite an older."""
    for member in moment.members:
        place = moment.places[member]
        if place.fresh and place.report and place.report.trainer.state in ("training", "stopped"):
            until = min((loss.at for loss in stuck(moment) if loss.at > moment.now), default=None)
            return Wait(until=until, reason=Reason.STILL_TRAINING, message=Reason.STILL_TRAINING.tell(member=member))
        if place.is_waiting and moment.now < (until := _loads_until(moment, place)):
            return Wait(until=until, reason=Reason.STILL_LOADING, message=Reason.STILL_LOADING.tell(member=member))
    return None


def _loads_until(moment: Moment, place: Place) -> float:
    """A request that was answered for the epoch that ended since comes up in that one, not in the next."""
    epoch, report = moment.view.epoch, place.report
    known = epoch.member(place.member)
    if known is None or report is None or report.epoch_seen < epoch.number:
        return float("-inf")
    if (report.agent, report.trainer.request) != (known.agent, known.request):
        return float("-inf")
    return (epoch.began_at or 0.0) + moment.view.policy.restore_budget


def _fill(moment: Moment, point: RestorePoint) -> Iterator[Assign | Wait]:
    """For each recipient: its next assignment, or what it waits for."""
    for place in _recipients(moment, point):
        heal = heal_of(moment, place)
        if heal is None or not heal.is_open:
            request = place.report.trainer.request if place.report else 0
            message = Reason.OLD_REQUEST.tell(member=place.member, request=request)
            yield Wait(until=None, reason=Reason.OLD_REQUEST, message=message)
            continue
        yield _fill_one(Case(moment, point, place.member, heal), heal)


def _fill_one(case: Case, heal: HealRecord) -> Assign | Wait:
    running = heal.assignment
    abandoned = abandonment(case, heal, running) if running else None
    if running and abandoned is None:
        names = {"member": case.recipient, "step": running.step, "attempt": running.attempt}
        message = Reason.TRANSFERRING.tell(donor=running.donors[0].member, **names)
        return Wait(until=due(heal), reason=Reason.TRANSFERRING, message=message)
    return plan_assignment(case, heal, abandoned)


def _hindrances(moment: Moment) -> Iterator[Wait]:
    for member in moment.members:
        place = moment.places[member]
        if not place.is_done and (why := _hindrance(moment, place)) is not None:
            yield Wait(until=None, reason=why[0], message=why[1])


def _hindrance(moment: Moment, place: Place) -> tuple[Reason, str] | None:
    """Why this member cannot begin."""
    reason, names = None, {"member": place.member}
    if place.pod is None:
        return missing(moment, place.member)
    if place.pod.terminating:
        reason = Reason.DRAINING
    elif place.heard is None:
        reason = Reason.NOT_HEARD_FROM
    elif not place.fresh:
        return Reason.HEARTBEAT_STALE, Reason.HEARTBEAT_STALE.tell(age=moment.age(place.heard), **names)
    elif not place.is_waiting:
        return Reason.NOT_WAITING, Reason.NOT_WAITING.tell(trainer=place.heard.report.trainer.state, **names)
    return (reason, reason.tell(**names)) if reason else None


def _soonest(waits: list[Wait]) -> Wait:
    """The first thing waited for, until the first time at which any of them may change; all questions are asked."""
    until = min((wait.until for wait in waits if wait.until is not None), default=None)
    asks = {uid: question for wait in waits for uid, question in wait.asks}
    return waits[0].model_copy(update={"until": until, "asks": tuple(sorted(asks.items()))})


def _begin(moment: Moment, point: RestorePoint) -> BeginEpoch:
    members = tuple(_enrolled(moment, point, place) for place in _waiting(moment))
    healed = any(each.rung == Rung.PEER for each in members)
    number = _highest_epoch(moment) + 1
    left_out = () if point.step is None else absence.left_out(moment, point.step, number)
    reason, message = _why_it_begins(moment, point, left_out)
    order = EpochOrder(
        epoch=number,
        over=False,
        reason=reason,
        message=message,
        step=point.step,
        highest=highest_step(moment),
        rung=Rung.PEER if healed else point.rung,
        deadline=moment.view.policy.epoch_end_deadline,
    )
    return BeginEpoch(order=order, members=members, left_out=left_out, reason=reason, message=message)


def _why_it_begins(moment: Moment, point: RestorePoint, left_out: tuple[LeftOut, ...]) -> tuple[Reason, str]:
    if not left_out:
        return point.reason, point.message
    reason, replicas = Reason.GOES_ON_WITHOUT, moment.view.policy.replicas
    count = replicas - len({each.member.replica for each in left_out})
    who = _named([each.member for each in left_out])
    return reason, reason.tell(count=count, replicas=replicas, step=point.step, members=who)


def _named(members: Sequence[MemberId]) -> str:
    return ", ".join(map(str, members[:8]))


def _enrolled(moment: Moment, point: RestorePoint, place: Place) -> EpochMember:
    heal, report = heal_of(moment, place), place.report
    received = heal is not None and heal.assignment is not None and heal.assignment.step == point.step
    return EpochMember(
        member=place.member,
        pod_uid=report.pod_uid if report else "",
        agent=report.agent if report else "",
        incarnation=(report.trainer.incarnation if report else None) or "",
        request=report.trainer.request if report else 0,
        rung=Rung.PEER if received else point.rung,
        private_from=point.private.get(place.member, ()),
        private_begins=place.member in point.beginning,
        private_step=point.behind.get(place.member),
        missed_since=_missed_since(moment, point, place.member),
        revision=place.pod.revision if place.pod else "",
        trial=_trial(moment, point, place, received=received),
    )


def _missed_since(moment: Moment, point: RestorePoint, member: MemberId) -> int:
    """Where the others have not moved on, what it kept is of their past."""
    left = moment.view.epoch.absence(member)
    return 0 if left is None or point.step is None or point.step <= left.since else left.epoch


def _trial(moment: Moment, point: RestorePoint, place: Place, *, received: bool) -> Trial:
    if point.step is None:
        return 0
    if received:
        return probation.LAST_TRIAL
    heal = heal_of(moment, place)
    return probation.trial_of(moment, place, point.step, healed=heal is not None and heal.is_open)
