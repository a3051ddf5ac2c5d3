"""Who is left out of the next epoch, and is anybody back who was left out of this one?

Where the policy says how few replicas may go on, the others are not waited for without end: neither for one who was
lost longer ago than the policy allows, nor once more for one who was left out already. No coordinate may be lacking, so
whole replicas are left out, not single members. Must not know at which step the others go on.
"""

from dataclasses import replace

from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.epoch_record import LeftOut
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.protection import lacks_certificate


def without_the_missing(moment: Moment) -> Moment | None:
    """The same moment of those alone who may go on now; None where all are waited for."""
    at = may_go_on_at(moment)
    if at is None or moment.now < at:
        return None
    gone = {member.replica for member in _missing(moment)}
    present = tuple(member for member in moment.members if member.replica not in gone)
    enough = moment.view.policy.replicas - len(gone) >= (moment.view.policy.min_replicas or 1)
    return replace(moment, members=present) if enough and all(_goes_on(moment.places[m]) for m in present) else None


def may_go_on_at(moment: Moment) -> float | None:
    """From when on nobody who is missing is waited for; None where nobody is missing, or all are waited for.

    A leader that has just begun hears its agents first. Who is done is missed by nobody, and the job is at its end.
    """
    policy, epoch, missing = moment.view.policy, moment.view.epoch, _missing(moment)
    if not policy.may_be_short or epoch.ended_at is None or not missing:
        return None
    if any(moment.places[member].is_done for member in moment.members):
        return None
    heard = moment.view.leader_since + policy.report_deadline
    if all(epoch.absence(member) is not None for member in missing):
        return heard
    # Not an order of deadlines that the API keeps: who has set epochEndSeconds higher never heard of this one.
    return max(heard, epoch.ended_at + max(policy.go_on_without, policy.epoch_end_deadline))


def left_out(moment: Moment, step: int, number: int) -> tuple[LeftOut, ...]:
    """Whom epoch `number` begins without, at that step; `moment` is of those who begin it."""
    there = frozenset(moment.members)
    return tuple(_left_out(moment, each, step, number) for each in moment.view.policy.members() if each not in there)


def returned(moment: Moment) -> tuple[MemberId, ...]:
    """Who was left out of the open epoch and waits now, with an agent at work, as its whole replica does."""
    absent = {each.member for each in moment.view.epoch.left_out}
    if not absent:
        return ()
    away = {each.replica for each in moment.members if not _may_come_in(moment, moment.places[each])}
    return tuple(each for each in moment.members if each in absent and each.replica not in away)


def _missing(moment: Moment) -> tuple[MemberId, ...]:
    return tuple(member for member in moment.members if not moment.places[member].is_waiting)


def _goes_on(place: Place) -> bool:
    return place.report is not None and place.report.trainer.goes_on


def _may_come_in(moment: Moment, place: Place) -> bool:
    """Nobody stops for one that could be given nothing."""
    if not place.is_waiting or place.report is None:
        return False
    return moment.view.policy.channel != "tls" or not lacks_certificate(place.report)


def _left_out(moment: Moment, member: MemberId, step: int, number: int) -> LeftOut:
    known = moment.view.epoch.absence(member)
    if known is None:
        return LeftOut(member=member, since=step, epoch=number)
    return known.but(since=min(known.since, step))
