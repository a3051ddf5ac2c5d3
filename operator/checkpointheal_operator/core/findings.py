"""What is amiss with a job though it decides nothing?

Everything that people should know of each member, in one list. Must not know who is told, or how often.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.amiss import beyond, going, missing, not_waiting, strange, taken
from checkpointheal_operator.core.differing import differing, first_of, tell_differing
from checkpointheal_operator.core.disagreeing import disagreeing, tell_disagreeing
from checkpointheal_operator.core.facts import PodFacts
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.probation import differences
from checkpointheal_operator.core.protection import flaws_of
from checkpointheal_operator.core.reasons import Reason


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a member."""

    member: MemberId
    reason: Reason
    message: str


def findings(moment: Moment) -> tuple[Finding, ...]:
    """What is amiss though it decides nothing, in order of members."""
    found = [finding for member in moment.members for finding in _findings(moment, moment.places[member])]
    found += [Finding(each.member, Reason.NO_ROOM, message) for each, message in beyond(moment)]
    found += [Finding(each.pod.member, Reason.OTHER_JOB, strange(each)) for each in moment.view.strangers]
    if (different := differing(moment)) and not all(moment.places[member].is_done for member in moment.members):
        found.append(Finding(first_of(different), Reason.REPLICAS_DIFFER, tell_differing(different)))
    if found_apart := disagreeing(moment):
        found.append(Finding(first_of(tuple(found_apart)), Reason.MEMBERS_DISAGREE, tell_disagreeing(found_apart)))
    apart = (Finding(member, Reason.PROBATION_DIFFERS, message) for member, message in differences(moment))
    return tuple(sorted((*found, *apart), key=lambda finding: finding.member))


def _findings(moment: Moment, place: Place) -> Iterator[Finding]:
    if place.is_done:
        return
    yield from _of_absence(moment, place)
    if place.pod is not None:
        yield from _of_pod(moment, place, place.pod)


def _of_absence(moment: Moment, place: Place) -> Iterator[Finding]:
    member, epoch, reason = place.member, moment.view.epoch, Reason.LEFT_OUT
    left = epoch.absence(member) if epoch.open else None
    if left is not None:
        yield Finding(member, reason, reason.tell(member=member, epoch=epoch.number, since=left.since))
    elif place.pod is None:
        yield Finding(member, *missing(moment, member))
    trainer = place.report.trainer if place.report else None
    if moment.view.policy.may_be_short and trainer is not None and trainer.request and not trainer.goes_on:
        yield Finding(member, Reason.NEEDS_EVERYONE, Reason.NEEDS_EVERYONE.tell(member=member))


def _of_pod(moment: Moment, place: Place, pod: PodFacts) -> Iterator[Finding]:
    member, heard, trouble = place.member, place.heard, pod.trouble
    for message in taken(place).values():
        yield Finding(member, Reason.PLACE_TAKEN, message)
    if pod.terminating:
        reason, message = going(moment, place, pod)
        yield Finding(member, reason, message)
        if reason == Reason.HELD_BY_LOST_NODE:
            return
    if trouble is not None and not place.fresh:  # one that speaks is at work, whatever its pod's object still says
        yield Finding(member, trouble.reason, trouble.message)
    if heard is None:
        if trouble is None:
            yield Finding(member, Reason.NOT_HEARD_FROM, Reason.NOT_HEARD_FROM.tell(member=member))
        return
    if not place.fresh:
        message = Reason.AGENT_SILENT.tell(member=member, age=moment.age(heard))
        yield Finding(member, Reason.AGENT_SILENT, message)
    elif _stays_away(moment, place, pod):
        yield Finding(member, Reason.NOT_WAITING, not_waiting(place))
    for flaw in flaws_of(heard.report, member):
        yield Finding(member, flaw.reason, flaw.message)


def _stays_away(moment: Moment, place: Place, pod: PodFacts) -> bool:
    """Everybody waits for its trainer, which has had its time to come.

    Counted from what stands in the API, so that no new leader, and no start that fails, begins the time anew.
    """
    epoch = moment.view.epoch
    is_in = epoch.open and epoch.member(place.member) is not None
    if is_in or pod.terminating or place.report is None or place.report.trainer.state not in ("absent", "starting"):
        return False
    turned = epoch.began_at if epoch.open else epoch.ended_at
    return moment.now >= max(pod.seen_since, turned or 0.0) + moment.view.policy.report_deadline
