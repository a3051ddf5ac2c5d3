"""At which step the whole job goes on, and from whose memory.

The highest step that every coordinate can be given and for which every member's private part of exactly that step is
somewhere alive. Only where there is none, and the policy allows it, the highest one at which who lacks its private part
has one of an earlier step. Unknown is not no: nobody's state is given up while its agent may still report or is still
reading.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core import private_parts
from checkpointheal_operator.core.decisions import Wait
from checkpointheal_operator.core.differing import tell_differing
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.prospects import Prospect, prospects
from checkpointheal_operator.core.protection import flaws_of
from checkpointheal_operator.core.reasons import Reason, Rung, named
from checkpointheal_operator.core.vote import Ballot, Holder


@dataclass(frozen=True)
class RestorePoint:
    """The restore step; None where there is none, with the rung that is left and why."""

    step: int | None
    rung: Rung
    reason: Reason
    message: str
    ballots: Mapping[int, Ballot] = field(default_factory=dict)
    private: Mapping[MemberId, tuple[str, ...]] = field(default_factory=dict)
    beginning: tuple[MemberId, ...] = ()
    """Members that never had a private part of this step: theirs begins here."""
    behind: Mapping[MemberId, int] = field(default_factory=dict)
    """Members whose private part of this step is nowhere, and the earlier step whose part they go on with."""
    differing: tuple[int, ...] = ()
    """Coordinates whose replicas differ by themselves: each member goes on with its own state."""

    def holds(self, place: Place) -> Holder | None:
        """The member's own believed generation of the step, if it has one."""
        if place.pod is None:
            return None
        ballot = self.ballots.get(place.member.coordinate)
        return ballot.accepted.get(place.pod.uid) if ballot else None


def restore_point(moment: Moment) -> RestorePoint | Wait:
    """Find it, or say what must be waited for first."""
    if (unheard := _unheard(moment)) is not None:
        return unheard
    known = prospects(moment)
    best = next((each for each in known if each.may_serve), None)
    if (silent := _silent(moment)) is not None and (best is None or best is not known[0]):
        return silent
    best = best or _behind(moment, known)
    if best is None:
        return _fall_back(moment, known)
    best = _with_own_past(moment, best)
    if best.pending:
        member, until = min(best.pending, key=lambda each: (each[1], each[0]))
        return Wait(
            until=until, reason=Reason.DIGEST_PENDING, message=Reason.DIGEST_PENDING.tell(member=member, step=best.step)
        )
    return _go_on(best, passed=None if best.step == known[0].step else known[0])


def _behind(moment: Moment, known: Sequence[Prospect]) -> Prospect | None:
    """Asked only once no step serves exactly: what is computed again costs less than a stream that is not the same."""
    if moment.view.policy.private_behind == "Refuse":
        return None
    covered = (each for each in known if not each.uncovered)
    return next((found for each in covered if (found := _with_earlier(moment, each)) is not None), None)


def _with_earlier(moment: Moment, prospect: Prospect) -> Prospect | None:
    """The same step with earlier parts for those who have none of it; None where one of them has none at all."""
    found = {each: private_parts.earlier(moment, each, prospect.step) for each in prospect.homeless}
    parts = {member: part for member, part in found.items() if part is not None}
    return prospect.with_parts(parts) if len(parts) == len(found) else None


def _with_own_past(moment: Moment, prospect: Prospect) -> Prospect:
    """Who was left out goes on with its part of then, where it may be behind; to begin anew repeats more batches."""
    if moment.view.policy.private_behind == "Refuse":
        return prospect
    absences = ((each, moment.view.epoch.absence(each)) for each in prospect.beginning)
    found = ((each, private_parts.earlier(moment, each, left.since + 1)) for each, left in absences if left)
    return prospect.with_parts({member: part for member, part in found if part is not None})


def _go_on(best: Prospect, passed: Prospect | None) -> RestorePoint:
    reason, message = Reason.EVERYONE_WAITS, Reason.EVERYONE_WAITS.tell(step=best.step)
    if best.beginning:
        message += f"; the private part of {named(best.beginning)} begins there: it has none of that step"
    if best.behind:
        reason = Reason.PRIVATE_STATE_BEHIND
        message += f"; {private_parts.tell_behind(best.step, best.behind)}"
    if best.differing:
        message += f"; each goes on with its own state: {tell_differing(best.differing)}"
    if passed is not None:
        message += f"; not step {passed.step}: {passed.obstacle()[1]}"
    return RestorePoint(
        step=best.step,
        rung=Rung.OWN_MEMORY,
        reason=reason,
        message=message,
        ballots=best.ballots,
        private=best.private,
        beginning=best.beginning,
        behind=best.behind,
        differing=best.differing,
    )


def highest_step(moment: Moment) -> int | None:
    """The highest step that anybody is known to have reached, be it of a future that was left behind.

    Up to it, steps are computed again without their side effects.
    """
    view, there = moment.view, {pod.uid for pod in moment.view.pods}
    seen = [] if view.epoch.highest is None else [view.epoch.highest]
    told = (each.report for each in view.heard if not view.epoch.is_anew or each.report.pod_uid in there)
    seen += [each.step for report in told for each in report.generations]
    seen += [each.identity.step for each in view.remembered]
    return max(seen, default=None)


def _unheard(moment: Moment) -> Wait | None:
    """A live pod whose agent has never spoken to this leader may hold anything."""
    waits = [
        (until, member)
        for member in moment.members
        if (until := moment.awaited_until(moment.places[member])) is not None
    ]
    if not waits:
        return None
    until, member = min(waits)
    return Wait(until=until, reason=Reason.NOT_HEARD_FROM, message=Reason.NOT_HEARD_FROM.tell(member=member))


def _silent(moment: Moment) -> Wait | None:
    """A silent agent may still hold what would spare the job a step: nothing can begin without it anyway."""
    for place in (moment.places[member] for member in moment.members):
        here = place.pod is not None and not place.pod.terminating and not place.is_done
        if here and place.heard is not None and not place.fresh:
            reason = Reason.HEARTBEAT_STALE
            return Wait(
                until=None, reason=reason, message=reason.tell(member=place.member, age=moment.age(place.heard))
            )
    return None


def _fall_back(moment: Moment, known: tuple[Prospect, ...]) -> RestorePoint:
    """No step will do: the user's checkpoint where there was ever a state, else a fresh start."""
    if not known:
        return _nothing_held(moment)
    if apart := tuple(each for each in known[0].differing if all(each in step.uncovered for step in known)):
        return RestorePoint(None, Rung.CHECKPOINT, Reason.REPLICAS_DIFFER, tell_differing(apart))
    covered = [each for each in known if not each.uncovered]
    if covered:
        reason, message = covered[0].obstacle()
        return RestorePoint(None, Rung.CHECKPOINT, reason, message)
    never = set.intersection(*(set(each.uncovered) for each in known))
    reason, message = known[0].obstacle()
    if not never:
        reason = Reason.NO_COMMON_STEP
        message = reason.tell(what="; ".join(each.obstacle()[1] for each in known[:3]))
    return RestorePoint(None, Rung.CHECKPOINT, reason, message)


def _nothing_held(moment: Moment) -> RestorePoint:
    """Nobody offers any step: there never was a state, or its holders are gone, or pods that live have kept none."""
    if (sound := moment.view.epoch.sound) is not None:
        return RestorePoint(None, Rung.CHECKPOINT, Reason.NO_SOUND_STEP, Reason.NO_SOUND_STEP.tell(step=sound))
    if moment.view.epoch.is_anew or (not moment.view.remembered and moment.view.epoch.number == 0):
        return RestorePoint(None, Rung.FRESH, Reason.FIRST_START, Reason.FIRST_START.tell())
    survivors = [place for member in moment.members if _took_part(moment, place := moment.places[member])]
    if not survivors or _lost_holders(moment):
        reason = Reason.NO_SURVIVING_ARENA
        return RestorePoint(None, Rung.CHECKPOINT, reason, reason.tell())
    reason = Reason.NOTHING_KEPT
    what = "; ".join(_why_nothing(moment, place) for place in survivors[:8])
    return RestorePoint(None, Rung.CHECKPOINT, reason, reason.tell(what=what))


def _took_part(moment: Moment, place: Place) -> bool:
    """The pod that holds the place was there when the job trained: it could have kept a state."""
    known = moment.view.epoch.member(place.member)
    was_in_epoch = known is not None and place.pod is not None and known.pod_uid == place.pod.uid
    return was_in_epoch or (place.report is not None and place.report.epoch_seen > 0)


def _lost_holders(moment: Moment) -> frozenset[str]:
    """Pods of the latest epoch that are gone and had kept a state of it."""
    holding = {place.pod.uid for place in moment.places.values() if place.pod}
    lost = {each.pod_uid for each in moment.view.epoch.members} - holding
    kept = {each.pod_uid for each in moment.view.remembered}
    kept |= {uid for uid, heard in moment.heard.items() if moment.generations(heard.report)}
    return frozenset(lost & kept)


def _why_nothing(moment: Moment, place: Place) -> str:
    if place.report is None:
        return f"the agent of {place.member} is not heard"
    if flaws := flaws_of(place.report, place.member):
        return flaws[0].message
    since = f"epoch {moment.view.epoch.number} began"
    return f"{place.member} has kept no step since {since}" if place.report.generations else f"{place.member} kept none"
