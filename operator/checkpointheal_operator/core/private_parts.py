"""Who has a member's private part of a step, and if nobody has: the part of which earlier step is there?

Its own arena counts, and its buddies do; another rank's part is never used. Must not know which step is chosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.reasons import Reason, named


@dataclass(frozen=True)
class Part:
    """A private part of this step, and pod UIDs of the buddies that have it; none where the member's own arena does."""

    step: int
    holders: tuple[str, ...]


def exact(moment: Moment, member: MemberId, step: int) -> Part | None:
    """The part of this very step; None where nobody has it."""
    if step in _own_steps(moment, member):
        return Part(step, ())
    holders = tuple(uid for uid, steps in moment.kept.get(member, {}).items() if step in steps)
    return Part(step, holders) if holders else None


def earlier(moment: Moment, member: MemberId, step: int) -> Part | None:
    """The latest part before this step; None where there is none, or the member is known to be unable to take it.

    Who has not come back yet may be able to: nothing begins before it says so.
    """
    report = moment.places[member].report
    if report is not None and not report.behind:
        return None
    found = _own_steps(moment, member).union(*moment.kept.get(member, {}).values())
    latest = max((each for each in found if each < step), default=None)
    return None if latest is None else exact(moment, member, latest)


def never_had(moment: Moment, member: MemberId, step: int) -> bool:
    """Whether the records tell that no private part of it was ever made at that step: there is none to be lost.

    It was not there when the job came to that step, or its part began with the latest epoch and the job goes back
    there. Nor does anybody look for the part with which it was left out: the others went on without it. Records that
    are lost tell nothing.
    """
    epoch = moment.view.epoch
    if epoch.rung is None or not epoch.members:
        return False
    if (left := epoch.absence(member)) is not None:
        return step >= left.since
    known = moment.enrolled.get(member)
    if known is None:
        return all(each.identity.step < step for each in moment.view.remembered if each.member == member)
    return known.private_begins and epoch.step is not None and step <= epoch.step


def tell_behind(step: int, parts: Mapping[MemberId, int]) -> str:
    """That this step goes on with earlier private parts; `parts`: of which step each of these members' is."""
    what = named([f"{member} at step {of}" for member, of in sorted(parts.items())])
    return Reason.PRIVATE_STATE_BEHIND.tell(step=step, what=what)


def _own_steps(moment: Moment, member: MemberId) -> set[int]:
    """An older agent tells only of those that lie beside a generation.

    Those of steps that the others made without it are of another past.
    """
    report, left = moment.places[member].report, moment.view.epoch.absence(member)
    beside = {step for step, each in moment.held[member].items() if each.private}
    alone = report.private_own if report else ()
    return beside | {step for step in alone if left is None or left.saw(step)}
