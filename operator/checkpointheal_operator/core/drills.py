"""Is a drill due, and what is it?

A drill gives a member a state as a heal would, and nothing is kept of it: it tells beforehand that a heal would work,
and how long it would take. One at a time. No decision reads what is written here, so a drill changes and delays no
heal.
"""

from hashlib import sha256

from checkpointheal.contract.orders import Drill
from checkpointheal_operator.core.drill_ends import LONGEST, ended, gave_way, overdue_at
from checkpointheal_operator.core.drill_hindrance import hindrance, holder
from checkpointheal_operator.core.drill_pairs import first_pair
from checkpointheal_operator.core.drill_record import DrillPlan, DrillRecord
from checkpointheal_operator.core.moment import Moment, at
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.view import JobView


def next_drill(view: JobView, now: float) -> DrillRecord | None:
    """What is to be written down: a drill begins, ends or is refused. None: as it was."""
    drill, asked, due = view.drill, _asked(view), _due(view)
    if drill is not None and drill.is_open:
        return ended(at(view, now), drill)
    if asked:
        return _answered(at(view, now), asked)
    if due is None or now < due or hindrance(moment := at(view, now)) is not None:
        return None
    return _begun(moment, drill.request if drill else "")


def drill_without(view: JobView, now: float, why: tuple[str, str]) -> DrillRecord | None:
    """What is to be written down where, for that reason, nobody looks after the job: no drill goes on or begins."""
    if view.drill is not None and view.drill.is_open:
        return gave_way(view.drill, why[1], now)
    asked = _asked(view)
    return _refused(view, now, asked, why) if asked else None


def wakes_at(view: JobView, now: float) -> float | None:
    """When time alone may change the answer; None: only a request or a report can."""
    due = _due(view)
    return due if due is not None and due > now else None


def drill_order(moment: Moment) -> Drill | None:
    """What recipient and donor of the drill under way are told; None as soon as anything matters more."""
    record = moment.view.drill
    if record is None or record.plan is None or not record.is_open or hindrance(moment) is not None:
        return None
    recipient, donor = (holder(moment, side) for side in (record.plan.recipient, record.plan.donor))
    if recipient is None or donor is None:
        return None
    return Drill(
        heal=record.name,
        attempt=1,
        recipient=recipient,
        donors=(donor,),
        deadline=record.plan.deadline,
        bytes_per_second=moment.view.policy.bytes_per_second,
        channel=record.plan.channel,
        **dict(record.plan.identity),
    )


def _due(view: JobView) -> float | None:
    """When the next drill may begin by the policy, or the one under way must have ended."""
    drill, every = view.drill, view.policy.drill_every
    if drill is not None and drill.is_open:
        return overdue_at(drill)
    if every is None or not view.epoch.open or view.epoch.began_at is None:
        return None
    last = view.epoch.began_at if drill is None or drill.ended_at is None else drill.ended_at
    return max(last, view.epoch.began_at) + every


def _asked(view: JobView) -> str:
    """A request that nobody has taken up yet."""
    known = view.drill.request if view.drill else ""
    return "" if view.drill_asked == known else view.drill_asked


def _answered(moment: Moment, asked: str) -> DrillRecord | None:
    """A leader that has just begun hears its agents before it says no."""
    if any(moment.awaited_until(moment.places[member]) is not None for member in moment.members):
        return None
    why = hindrance(moment)
    return _begun(moment, asked) if why is None else _refused(moment.view, moment.now, asked, why)


def _begun(moment: Moment, request: str) -> DrillRecord:
    """With the first pair that may; where none may, a refusal."""
    view, now = moment.view, moment.now
    turn, found = first_pair(moment, _turn(view))
    record = _record(view, now, request, found) if isinstance(found, DrillPlan) else _refused(view, now, request, found)
    return record.but(turn=turn)


def _turn(view: JobView) -> int:
    return view.drill.turn if view.drill else 0


def _record(view: JobView, now: float, request: str, plan: DrillPlan) -> DrillRecord:
    reason = Reason.DRILLING
    names = {"member": plan.recipient.member, "donor": plan.donor.member, "step": plan.identity.step}
    return DrillRecord(
        name=_name(view, now, request),
        request=request,
        plan=plan,
        began_at=now,
        reason=reason,
        message=reason.tell(**names),
    )


def _refused(view: JobView, now: float, request: str, why: tuple[str, str]) -> DrillRecord:
    return DrillRecord(
        name=_name(view, now, request),
        request=request,
        turn=_turn(view),
        began_at=now,
        ended_at=now,
        reason=why[0],
        message=why[1][:LONGEST],
    )


def _name(view: JobView, now: float, request: str) -> str:
    key = f"{view.job}/{request}/{now!r}"
    return f"drill-{sha256(key.encode()).hexdigest()[:12]}"
