"""Does a job stand still though it could train, and since when?

Nobody waits in silence: what was decided last is told where nothing else is, and a job that stands for long is counted.
A job none of whose agents is at work, as one that is queued or rests, is no such one. Must not know who is told.
"""

from checkpointheal_operator.core.decisions import Decision, Wait
from checkpointheal_operator.core.moment import Moment, at
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.view import JobView


def waits_long(moment: Moment, last: Decision | None) -> Wait | None:
    """What the job waits for, where it does so for longer than an agent takes to come."""
    return last if isinstance(last, Wait) and _stands(moment, moment.view.policy.report_deadline) else None


def stands_still(view: JobView, now: float, last: Decision) -> bool:
    """Whether it does not go on for longer than a trainer takes to load its state. Bytes that cross are going on."""
    if view.epoch.open or not isinstance(last, Wait) or last.reason == Reason.TRANSFERRING:
        return False
    return _stands(at(view, now), view.policy.restore_budget)


def _stands(moment: Moment, grace: float) -> bool:
    epoch, places = moment.view.epoch, [moment.places[member] for member in moment.members]
    there = [place.pod.seen_since for place in places if place.pod is not None and place.fresh]
    if epoch.open or not there or all(place.is_done for place in places):
        return False
    return moment.now >= max(epoch.ended_at or 0.0, min(there)) + grace
