"""When is memory given up, though it has a step to offer?

Where a trainer crashes at one step again and again, its memory may be the cause; where attempts fail again and again,
it cannot be had; where a probation fails with peers' bytes, no others are to be had. The whole job is then left to the
user's checkpoint.
"""

from checkpointheal_operator.core.causes import crashes
from checkpointheal_operator.core.donors import Case
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.plan import abandonment, heal_of
from checkpointheal_operator.core.probation import LAST_TRIAL, failed
from checkpointheal_operator.core.reasons import Cause, Reason, Rung
from checkpointheal_operator.core.restore import RestorePoint


def given_up(moment: Moment, point: RestorePoint) -> RestorePoint | None:
    """The breaker: what memory cannot mend is left to the user's checkpoint."""
    if point.step is None:
        return None
    if (last := next((each for each in failed(moment) if each.trial == LAST_TRIAL), None)) is not None:
        reason = Reason.PROBATION_EXHAUSTED
        return RestorePoint(None, Rung.CHECKPOINT, reason, reason.tell(member=last.member))
    for place in (moment.places[member] for member in moment.members if moment.places[member].is_waiting):
        heal = heal_of(moment, place)
        if heal is None or not heal.is_open:
            continue
        if (why := _crash_loop(moment, heal) or _exhausted(moment, point, heal)) is not None:
            return RestorePoint(None, Rung.CHECKPOINT, *why)
    return None


def _crash_loop(moment: Moment, heal: HealRecord) -> tuple[Reason, str] | None:
    if heal.cause != Cause.CRASHED or heal.crash_step is None:
        return None
    count = crashes(moment.view.heals, heal)
    if count <= moment.view.policy.same_step_crashes:
        return None
    reason = Reason.CRASH_LOOP_AT_STEP
    return reason, reason.tell(member=heal.recipient, count=count, step=heal.crash_step)


def _exhausted(moment: Moment, point: RestorePoint, heal: HealRecord) -> tuple[Reason, str] | None:
    """Only failures count: an assignment that another step made useless says nothing against its donor."""
    if heal.assignment is None or point.holds(moment.places[heal.recipient]) is not None:
        return None
    abandoned = abandonment(Case(moment, point, heal.recipient, heal), heal, heal.assignment)
    failed = len(heal.failed) + (len(abandoned.failed) if abandoned else 0)
    if abandoned is None or failed < moment.view.policy.max_attempts:
        return None
    reason = Reason.ATTEMPTS_EXHAUSTED
    return reason, reason.tell(member=heal.recipient, tries=heal.tries, failed=failed)
