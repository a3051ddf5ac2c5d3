"""Which waiting member needs a heal that is not open yet, and for which cause?

Must not know who gives.
"""

from collections.abc import Iterator

from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.causes import why_lost
from checkpointheal_operator.core.decisions import OpenHeal
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.plan import heal_name, heal_of
from checkpointheal_operator.core.reasons import Cause
from checkpointheal_operator.core.restore import RestorePoint

OTHERWISE = {Cause.DAMAGED: "its own memory holds no sound one of the step that its peers hold"}
"""What a word alone would say wrongly: it may have run ahead."""


def open_lost(moment: Moment) -> OpenHeal | None:
    """For one that was lost."""
    for place in waiting(moment):
        cause = why_lost(moment, place.member)
        if isinstance(cause, Cause) and (opened := _open(moment, place, cause)) is not None:
            return opened
    return None


def open_recipients(moment: Moment, point: RestorePoint) -> OpenHeal | None:
    """A member that was not lost and yet cannot go on from its own memory: it is new, or its memory was refused."""
    for place in recipients(moment, point):
        if (opened := _open(moment, place, _why_it_receives(moment, place.member))) is not None:
            return opened
    return None


def recipients(moment: Moment, point: RestorePoint) -> Iterator[Place]:
    """Who waits and does not hold the step."""
    if point.step is None:
        return iter(())
    return (place for place in waiting(moment) if point.holds(place) is None)


def waiting(moment: Moment) -> Iterator[Place]:
    """Whose trainer waits in `restore()`."""
    return (moment.places[member] for member in moment.members if moment.places[member].is_waiting)


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
        message=f"{place.member} asks for a state: {OTHERWISE.get(cause, cause)}",
    )
