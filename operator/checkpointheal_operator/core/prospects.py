"""Which steps could the job go on from, and what is known of each?

A step that some arena holds is a prospect. Must not know which one is taken.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import Generation
from checkpointheal_operator.core import private_parts
from checkpointheal_operator.core.contested import uncontested
from checkpointheal_operator.core.differing import differing
from checkpointheal_operator.core.heal_record import Remembered
from checkpointheal_operator.core.hearing import last_identity
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.private_parts import Part
from checkpointheal_operator.core.reasons import Reason, named
from checkpointheal_operator.core.vote import Ballot, Holder, elect


@dataclass(frozen=True)
class Prospect:
    """What is known about one step."""

    step: int
    ballots: Mapping[int, Ballot]
    private: Mapping[MemberId, tuple[str, ...]]
    pending: tuple[tuple[MemberId, float], ...]
    uncovered: tuple[int, ...]
    homeless: tuple[MemberId, ...]
    beginning: tuple[MemberId, ...]
    behind: Mapping[MemberId, int] = field(default_factory=dict)
    differing: tuple[int, ...] = ()
    """Coordinates of which each member goes on with its own state, or none does."""

    @property
    def may_serve(self) -> bool:
        """Nothing forbids it; what is pending is hoped for."""
        return not self.uncovered and not self.homeless

    def with_parts(self, parts: Mapping[MemberId, Part]) -> "Prospect":
        """The same step, where these members have earlier parts."""
        held = {member: part.holders for member, part in parts.items() if part.holders}
        return replace(
            self,
            homeless=tuple(each for each in self.homeless if each not in parts),
            beginning=tuple(each for each in self.beginning if each not in parts),
            private={**self.private, **held},
            behind={**self.behind, **{member: part.step for member, part in parts.items()}},
        )

    def obstacle(self) -> tuple[Reason, str]:
        """What forbids this step, in a word and a sentence."""
        if self.uncovered:
            who = named(self.uncovered)
            reason = Reason.NO_ELIGIBLE_DONOR
            return reason, reason.tell(what=f"step {self.step} of coordinate {who}{self._disagreement()}")
        reason = Reason.PRIVATE_STATE_LOST
        return reason, reason.tell(what=f"{named(self.homeless)} at step {self.step}")

    def _disagreement(self) -> str:
        refused = {reason for coordinate in self.uncovered for reason in self.ballots[coordinate].refused.values()}
        apart = Reason.NO_MAJORITY in refused and not set(self.differing).intersection(self.uncovered)
        return ": its members hold different bytes, and nothing tells who is right" if apart else ""


def prospects(moment: Moment) -> tuple[Prospect, ...]:
    """The highest step first."""
    steps, apart = _steps(moment), differing(moment)
    polls = {step: _polls(moment, step) for step in steps}
    ballots = {c: _ballots(moment, c, {step: poll[c] for step, poll in polls.items()}) for c in _coordinates(moment)}
    return tuple(
        _prospect(moment, step, apart, polls[step], {c: each[step] for c, each in ballots.items()})
        for step in sorted(steps, reverse=True)
    )


def ballots_of(moment: Moment, coordinate: int) -> Mapping[int, Ballot]:
    """By step, whose bytes of that coordinate are right."""
    return _ballots(moment, coordinate, {step: _polls(moment, step).get(coordinate, ()) for step in _steps(moment)})


def _steps(moment: Moment) -> set[int]:
    return {step for member in moment.members for step in moment.held[member]}


def _coordinates(moment: Moment) -> Iterable[int]:
    return range(moment.view.policy.ranks)


def _polls(moment: Moment, step: int) -> Mapping[int, Sequence[Holder]]:
    """Who has read it through, by coordinate."""
    found: dict[int, list[Holder]] = {c: [] for c in _coordinates(moment)}
    for member in moment.members:
        generation = moment.held[member].get(step)
        if generation is not None and generation.state_digest is not None:
            found[member.coordinate].append(Holder(moment.places[member], generation))
    return found


def _ballots(moment: Moment, coordinate: int, polls: Mapping[int, Sequence[Holder]]) -> Mapping[int, Ballot]:
    """By step. Who goes, or is silent, has no less a say in whose bytes are right: it only cannot give its own.

    Where the policy compares nobody, replicas may be meant to differ: then who is ahead gives.
    """
    ballots = {step: elect(poll, _witnesses(moment, coordinate, step)) for step, poll in polls.items()}
    upheld = uncontested(polls, ballots) if moment.view.policy.probation_steps else ballots
    return {step: replace(ballot, accepted=_giving(ballot)) for step, ballot in upheld.items()}


def _giving(ballot: Ballot) -> Mapping[str, Holder]:
    return {uid: holder for uid, holder in ballot.accepted.items() if holder.place.can_give}


def _prospect(
    moment: Moment,
    step: int,
    apart: tuple[int, ...],
    voters: Mapping[int, Sequence[Holder]],
    believed: Mapping[int, Ballot],
) -> Prospect:
    pending = tuple(_pending(moment, step))
    hoped = {member.coordinate for member, _ in pending}
    needing = [member for member in moment.members if not moment.places[member].is_done]
    own = {c: [member for member in needing if member.coordinate == c] for c in apart}
    torn = {c for c, members in own.items() if not _is_one_form(moment, step, members)}
    ballots = {c: _each_own(voters[c], own[c]) if c in own else each for c, each in believed.items()}
    parts = {member: private_parts.exact(moment, member, step) for member in needing}
    without = [member for member, part in parts.items() if part is None]
    beginning = tuple(member for member in without if private_parts.never_had(moment, member, step))
    return Prospect(
        step=step,
        ballots=ballots,
        private={member: part.holders for member, part in parts.items() if part and part.holders},
        pending=pending,
        uncovered=tuple(c for c, ballot in ballots.items() if c in torn or (not ballot.accepted and c not in hoped)),
        homeless=tuple(member for member in without if member not in beginning),
        beginning=beginning,
        differing=apart,
    )


def _is_one_form(moment: Moment, step: int, needing: Sequence[MemberId]) -> bool:
    """All of them hold the step, and with one schema: with several of them `agree()` would refuse it."""
    held = [moment.held[member].get(step) for member in needing]
    return None not in held and len({each.schema_digest for each in held if each is not None}) <= 1


def _each_own(voters: Sequence[Holder], needing: Sequence[MemberId]) -> Ballot:
    """Where replicas differ by themselves each one's own bytes are right for itself: all have them, or none goes on."""
    giving = {holder.uid: holder for holder in voters if holder.place.can_give}
    if {holder.place.member for holder in giving.values()}.issuperset(needing):
        return Ballot(giving)
    return Ballot(refused={holder.uid: Reason.NO_MAJORITY for holder in voters})


def _pending(moment: Moment, step: int) -> Iterator[tuple[MemberId, float]]:
    """Who may still read it through, and until when that is waited for."""
    for member in moment.members:
        place, generation = moment.places[member], moment.held[member].get(step)
        if generation is None or generation.state_digest is not None or not place.can_give:
            continue
        if moment.now < (until := _digest_deadline(moment, place, generation)):
            yield member, until


def _digest_deadline(moment: Moment, place: Place, generation: Generation) -> float:
    """An agent reads all once more when a trainer comes to use it, which may be long after the epoch's end."""
    led, over, heard = moment.view.leader_since, moment.view.epoch.ended_at, place.heard
    since = max(led, led if over is None else over, *((heard.agent_since, heard.trainer_since) if heard else ()))
    return since + moment.view.policy.patience(generation.bytes)


def _witnesses(moment: Moment, coordinate: int, step: int) -> Iterator[Remembered]:
    """What lost pods last held: as remembered, or as heard of late from a pod that holds no place any more."""
    gone = (heard.report for uid, heard in moment.heard.items() if uid not in moment.holding)
    for each in (*moment.view.remembered, *(last for report in gone if (last := last_identity(report)))):
        left = moment.view.epoch.absence(each.member)
        if (left is None or left.saw(step)) and each.member.coordinate == coordinate and each.identity.step == step:
            yield each
