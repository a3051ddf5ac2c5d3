"""With what does the next epoch begin: which members, on which rungs, with whose private parts?

Asked once everybody holds what it needs and waits. Must not know what was waited for.
"""

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.orders import EpochOrder
from checkpointheal_operator.core import absence, probation
from checkpointheal_operator.core.believed import believed
from checkpointheal_operator.core.decisions import BeginEpoch
from checkpointheal_operator.core.epoch_record import EpochMember, LeftOut, Trial
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.opening import waiting
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.plan import heal_of
from checkpointheal_operator.core.reasons import Reason, Rung, named
from checkpointheal_operator.core.restore import RestorePoint, highest_step


def begin(moment: Moment, point: RestorePoint) -> BeginEpoch:
    """At that step, on that rung; a member that a peer gave its state says so."""
    members = tuple(_enrolled(moment, point, place) for place in waiting(moment))
    healed = any(each.rung == Rung.PEER for each in members)
    number = highest_epoch(moment) + 1
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
    return BeginEpoch(
        order=order, members=members, left_out=left_out, apart=point.differing, reason=reason, message=message
    )


def highest_epoch(moment: Moment) -> int:
    """That anybody knows of and can be believed about; 0 before the first."""
    seen = []
    for heard in moment.heard.values():
        seen += [heard.report.epoch_seen, heard.report.trainer.epoch]
    return max((moment.view.epoch.number, *believed(seen)))


def _why_it_begins(moment: Moment, point: RestorePoint, left_out: tuple[LeftOut, ...]) -> tuple[Reason, str]:
    if not left_out:
        return point.reason, point.message
    reason, replicas = Reason.GOES_ON_WITHOUT, moment.view.policy.replicas
    count = replicas - len({each.member.replica for each in left_out})
    who = named([each.member for each in left_out])
    besides = point.message.removeprefix(Reason.EVERYONE_WAITS.tell(step=point.step))
    return reason, reason.tell(count=count, replicas=replicas, step=point.step, members=who) + besides


def _enrolled(moment: Moment, point: RestorePoint, place: Place) -> EpochMember:
    heal, report = heal_of(moment, place), place.report
    has_own = place.member.coordinate in point.differing
    assignment = heal.assignment if heal is not None and not has_own else None
    received = assignment is not None and assignment.step == point.step
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
    return 0 if left is None or point.step is None or left.saw(point.step) else left.epoch


def _trial(moment: Moment, point: RestorePoint, place: Place, *, received: bool) -> Trial:
    if point.step is None or place.member.coordinate in point.differing:
        return 0
    if received:
        return probation.LAST_TRIAL
    heal = heal_of(moment, place)
    return probation.trial_of(moment, place, point.step, healed=heal is not None and heal.is_open)
