"""The reconcile as one function: view and time in, the one next action out.

The rules that live here are the order of things and the ladder. Is it the run that is remembered? While an epoch is
open: is anybody lost? Between two: who needs a heal, where does the job go on, does everybody hold what it needs, does
everybody wait? Only then does the next one begin, at one step and on one rung for the whole job. Never raises for a
view that validates.
"""

from collections.abc import Iterator

from checkpointheal_operator.core import absence
from checkpointheal_operator.core.amiss import going, missing, not_waiting
from checkpointheal_operator.core.beginning import begin, highest_epoch
from checkpointheal_operator.core.breaker import given_up
from checkpointheal_operator.core.decisions import Assign, Decision, EndEpoch, Nothing, Wait
from checkpointheal_operator.core.donors import Case, due
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.holding import hold
from checkpointheal_operator.core.losses import stuck
from checkpointheal_operator.core.moment import Moment, at
from checkpointheal_operator.core.new_run import new_run
from checkpointheal_operator.core.opening import open_lost, open_recipients, recipients
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.plan import abandonment, heal_of, plan_assignment
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.restore import RestorePoint, restore_point
from checkpointheal_operator.core.under_way import end_for_lost, under_way
from checkpointheal_operator.core.verdict import conclude
from checkpointheal_operator.core.view import JobView


def decide(view: JobView, now: float) -> Decision:
    """The one next action. Apply it, look again, decide again."""
    moment = at(view, now)
    if (verdict := conclude(moment)) is not None:
        return verdict
    if all(moment.places[member].is_done for member in moment.members):
        return Nothing(reason=Reason.ALL_DONE, message=Reason.ALL_DONE.tell())
    if (anew := new_run(moment)) is not None:
        return anew
    return under_way(moment) if view.epoch.open else _between_epochs(moment)


def _between_epochs(moment: Moment) -> Decision:
    if (ended := _catch_up(moment) or _restart(moment)) is not None:
        return ended
    fewer = absence.without_the_missing(moment)
    if fewer is not None and _can_go_on(fewer):
        return _towards_the_next(fewer)
    decision, without = _towards_the_next(moment), absence.may_go_on_at(moment)
    if isinstance(decision, Wait) and without is not None and moment.now < without:
        return decision.but(until=without if decision.until is None else min(without, decision.until))
    return decision


def _can_go_on(fewer: Moment) -> bool:
    """Only from memory: for a checkpoint, or a fresh start, everybody is waited for.

    So is who could not come in again, because nobody else holds its state.
    """
    point = restore_point(fewer)
    if isinstance(point, Wait):
        return True
    return point.step is not None and not point.differing and given_up(fewer, point) is None


def _towards_the_next(moment: Moment) -> Decision:
    if (opened := open_lost(moment)) is not None:
        return opened
    if (moving := _still_training(moment)) is not None:
        return moving
    point = restore_point(moment)
    if isinstance(point, Wait):
        return point
    if (opened := open_recipients(moment, point)) is not None:
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
    return _soonest(waits) if waits else begin(moment, point)


def _catch_up(moment: Moment) -> EndEpoch | None:
    """Records that were lost must not let two memberships live: what agents know and we do not is closed.

    So is the one behind it: it may have begun for one that has not been heard since.
    """
    seen, known = highest_epoch(moment), moment.view.epoch.number
    is_broken = any(place.is_waiting for place in moment.places.values()) or _parted_at(moment) <= moment.now
    if seen <= known or not is_broken:
        return None
    message = Reason.RECORDS_BEHIND.tell(seen=seen, epoch=known)
    return EndEpoch(epoch=seen + 1, lost=(), reason=Reason.RECORDS_BEHIND, message=message)


def _parted_at(moment: Moment) -> float:
    """From when on members that train in different epochs do: before, a word of theirs may have been long under way."""
    trained = {place.report.trainer.epoch for place in moment.places.values() if place.report and place.trains}
    return moment.view.leader_since + moment.view.policy.report_deadline if len(trained) > 1 else float("inf")


def _restart(moment: Moment) -> EndEpoch | None:
    due_now = [loss for loss in stuck(moment) if loss.at <= moment.now and loss.restart]
    return end_for_lost(moment.view.epoch.number, due_now) if due_now else None


def _still_training(moment: Moment) -> Wait | None:
    """No step is chosen while a trainer could still seal a newer one, or overwrite an older."""
    for member in moment.members:
        place = moment.places[member]
        if place.trains:
            times = (_parted_at(moment), *(loss.at for loss in stuck(moment)))
            until = min((each for each in times if moment.now < each < float("inf")), default=None)
            return Wait(until=until, reason=Reason.STILL_TRAINING, message=Reason.STILL_TRAINING.tell(member=member))
        if place.is_waiting and moment.now < (until := _loads_until(moment, place)):
            return Wait(until=until, reason=Reason.STILL_LOADING, message=Reason.STILL_LOADING.tell(member=member))
    return None


def _loads_until(moment: Moment, place: Place) -> float:
    """A request that was answered for the epoch that ended since comes up in that one, not in the next."""
    epoch, report = moment.view.epoch, place.report
    known = moment.enrolled.get(place.member)
    if known is None or report is None or report.epoch_seen < epoch.number:
        return float("-inf")
    if (report.agent, report.trainer.request) != (known.agent, known.request):
        return float("-inf")
    return (epoch.began_at or 0.0) + moment.view.policy.restore_budget


def _fill(moment: Moment, point: RestorePoint) -> Iterator[Assign | Wait]:
    """For each recipient: its next assignment, or what it waits for."""
    for place in recipients(moment, point):
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
        return Wait(until=due(case.moment, heal), reason=Reason.TRANSFERRING, message=message)
    return plan_assignment(case, heal, abandoned)


def _hindrances(moment: Moment) -> Iterator[Wait]:
    for member in moment.members:
        place = moment.places[member]
        if not place.is_done and (why := _hindrance(moment, place)) is not None:
            yield Wait(until=None, reason=why[0], message=why[1])


def _hindrance(moment: Moment, place: Place) -> tuple[Reason, str] | None:
    """Why this member cannot begin."""
    if place.pod is None:
        return missing(moment, place.member)
    if place.pod.terminating:
        return going(moment, place, place.pod)
    if place.heard is None and place.pod.trouble is not None:
        return place.pod.trouble.reason, place.pod.trouble.message
    if place.heard is None:
        return Reason.NOT_HEARD_FROM, Reason.NOT_HEARD_FROM.tell(member=place.member)
    if not place.fresh:
        return Reason.HEARTBEAT_STALE, Reason.HEARTBEAT_STALE.tell(member=place.member, age=moment.age(place.heard))
    return None if place.is_waiting else (Reason.NOT_WAITING, not_waiting(place))


def _soonest(waits: list[Wait]) -> Wait:
    """The first thing waited for, until the first time at which any of them may change; all questions are asked."""
    until = min((wait.until for wait in waits if wait.until is not None), default=None)
    asks = {uid: question for wait in waits for uid, question in wait.asks}
    return waits[0].but(until=until, asks=tuple(sorted(asks.items())))
