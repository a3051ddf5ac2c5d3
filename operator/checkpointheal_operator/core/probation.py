"""Does a member that was healed train as its peers do?

The first steps that it commits are held against what its peers' agents say of the same ones. It fails by a digest that
its peers do not share, or by a number that is finite everywhere but there; what only differs much is told. Of a step
that nobody else tells of nothing is known. Must not know what follows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import get_args

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import Generation, Passed
from checkpointheal.contract.signals import Signal, Signals
from checkpointheal_operator.core.epoch_record import EpochMember, Trial
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.vote import Holder, elect, must_agree

FACTOR = 10.0
"""A number so many times its peers', or so small a part of them, is worth telling."""
LAST_TRIAL = 2


@dataclass(frozen=True)
class Failure:
    """A member that does not train as its peers do, and the last step at which it still did."""

    member: MemberId
    message: str
    sound: int


@dataclass(frozen=True)
class _Told:
    """What is known of one member's steps in the open epoch. `tried`: those of its probation, in order."""

    place: Place
    steps: Mapping[int, Passed]
    tried: tuple[int, ...] = ()
    on_trial: bool = False

    def signals(self, step: int) -> Signals | None:
        """What its loop told of it."""
        passed = self.steps.get(step)
        return passed.signals if passed else None


def failures(moment: Moment) -> tuple[Failure, ...]:
    """Every member of the open epoch whose probation has failed, in order."""
    found = (_failure(moment, own, told) for own, told in _trials(moment))
    return tuple(failure for failure in found if failure)


def differences(moment: Moment) -> Iterator[tuple[MemberId, str]]:
    """Members on probation whose numbers are far from their peers', and by how much."""
    for own, told in _trials(moment):
        for name in get_args(Signal):
            if (apart := _apart(own, told, name)) is not None:
                member = own.place.member
                yield member, Reason.PROBATION_DIFFERS.tell(member=member, name=name, own=apart[0], theirs=apart[1])


def failed(moment: Moment) -> Iterator[EpochMember]:
    """Who failed its probation in the epoch that is over, where that very pod still holds its place."""
    epoch = moment.view.epoch
    for known in epoch.members if epoch.sound is not None else ():
        pod = moment.places[known.member].pod
        if known.member in epoch.lost and pod is not None and pod.uid == known.pod_uid:
            yield known


def trial_of(moment: Moment, place: Place, step: int, *, healed: bool) -> Trial:
    """Which one it begins at `step` from its own memory; what it kept of the sound step are its peers' bytes.

    One that was under way, when the loss of another ended its epoch, goes on.
    """
    epoch = moment.view.epoch
    if any(each.member == place.member for each in failed(moment)):
        return LAST_TRIAL
    if healed:
        return 1
    known = epoch.member(place.member)
    if known is None or epoch.step is None or place.pod is None or place.pod.uid != known.pod_uid:
        return 0
    return known.trial if step < epoch.step + moment.view.policy.probation_steps else 0


def _trials(moment: Moment) -> Iterator[tuple[_Told, Sequence[_Told]]]:
    """Each member on probation, and all of its coordinate that are in the epoch, itself included."""
    epoch, count = moment.view.epoch, moment.view.policy.probation_steps
    members = sorted(epoch.members, key=lambda known: known.member)
    if not epoch.open or not count or not any(known.trial for known in members):
        return
    told = [each for known in members if (each := _told(moment, known, count)) is not None]
    for own in told:
        if own.tried and not own.place.is_done:
            yield own, [each for each in told if each.place.member.coordinate == own.place.member.coordinate]


def _told(moment: Moment, known: EpochMember, count: int) -> _Told | None:
    """None where nothing was heard of its pod. Who reports no steps of its own accord is not tried: an older agent."""
    place, number = moment.places[known.member], moment.view.epoch.number
    if place.report is None or place.report.pod_uid != known.pod_uid:
        return None
    passed = sorted((each for each in place.report.passed if each.epoch == number), key=lambda each: each.step)
    held = (_as_passed(each) for each in place.report.generations if each.epoch == number)
    steps = {each.step: each for each in (*held, *passed)}
    tried = tuple(each.step for each in passed[:count]) if known.trial else ()
    return _Told(place, steps, tried, on_trial=known.trial > 0)


def _as_passed(held: Generation) -> Passed:
    return Passed(
        step=held.step, epoch=held.epoch or 0, schema_digest=held.schema_digest, state_digest=held.state_digest
    )


def _failure(moment: Moment, own: _Told, told: Sequence[_Told]) -> Failure | None:
    sound = moment.view.epoch.step or 0
    for step in own.tried:
        what = _not_finite(own, told, step) or _not_shared(own, told, step)
        if what is not None:
            member = own.place.member
            return Failure(member, Reason.PROBATION_FAILED.tell(member=member, step=step, what=what), sound)
        sound = step if _is_shared(own, told, step) else sound
    return None


def _not_finite(own: _Told, told: Sequence[_Told], step: int) -> str | None:
    """Not where a peer has one that is not finite either: an overflow is everybody's, a wrong memory is one's own."""
    mine, peers = own.signals(step), [said for each in told if not each.on_trial and (said := each.signals(step))]
    if mine is None or any(said.not_finite for said in peers):
        return None
    for name in mine.not_finite:
        if any(getattr(said, name) is not None for said in peers):
            return f"its {name} is not finite, that of its peers is"
    return None


def _not_shared(own: _Told, told: Sequence[_Told], step: int) -> str | None:
    """As donors are voted on. Where that knows no winner, and those that were not healed agree, it is who was healed.

    Where those differ too nothing is known: such replicas do not train in step.
    """
    holders = list(_holders(told, step))
    mine = next((holder for each, holder in holders if each is own), None)
    if mine is None:
        return None
    refusal = elect([holder for _, holder in holders], ()).refused.get(mine.uid)
    if refusal == Reason.DIGEST_DISAGREES:
        return "it holds other bytes than most of its peers"
    rivals = {_digest(holder) for _, holder in holders if must_agree(holder, mine)} - {_digest(mine)}
    steady = {_digest(holder) for each, holder in holders if not each.on_trial and must_agree(holder, mine)}
    if refusal == Reason.NO_MAJORITY and rivals and len(steady) <= 1 and _digest(mine) not in steady:
        return "as many peers hold other bytes, and the suspect is who was healed"
    return None


def _is_shared(own: _Told, told: Sequence[_Told], step: int) -> bool:
    mine = own.steps[step]
    others = (each.steps.get(step) for each in told if each is not own)
    bytes_ = (mine.schema_digest, mine.state_digest)
    return mine.state_digest is not None and any(
        bytes_ == (each.schema_digest, each.state_digest) for each in others if each
    )


def _holders(told: Sequence[_Told], step: int) -> Iterator[tuple[_Told, Holder]]:
    for each in told:
        passed = each.steps.get(step)
        if passed is not None and passed.state_digest is not None and passed.schema_digest is not None:
            held = Generation(
                step=step,
                schema_digest=passed.schema_digest,
                state_digest=passed.state_digest,
                bytes=0,
                private=False,
                epoch=passed.epoch,
            )
            yield each, Holder(each.place, held)


def _digest(holder: Holder) -> str | None:
    return holder.generation.state_digest


def _apart(own: _Told, told: Sequence[_Told], name: Signal) -> tuple[str, str] | None:
    """Its median and that of its peers over the steps that both told, where they are far apart."""
    mine: list[float] = []
    theirs: list[float] = []
    for step in own.tried:
        values = list(_values((each.signals(step) for each in told if not each.on_trial), name))
        if values and (ours := list(_values([own.signals(step)], name))):
            mine, theirs = mine + ours, theirs + values
    if not mine:
        return None
    low, high = sorted((abs(median(mine)), abs(median(theirs))))
    return (f"{median(mine):.3g}", f"{median(theirs):.3g}") if 0 < low * FACTOR < high else None


def _values(said: Iterator[Signals | None] | Sequence[Signals | None], name: Signal) -> Iterator[float]:
    values = (getattr(each, name) for each in said if each is not None)
    return (value for value in values if value is not None)
