"""Does a step stand that one member alone has, or a few, where others hold other bytes of the step beside it?

Whoever is ahead of its peers, or behind them, is alone with its step: the vote of that step knows no other bytes. So
the step beside it, which both have read, tells whether they ever could have agreed. Must not know who gives.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.vote import Ballot, Holder


def uncontested(polls: Mapping[int, Sequence[Holder]], ballots: Mapping[int, Ballot]) -> Mapping[int, Ballot]:
    """The ballots of one coordinate, by step, without whom a peer that did not vote contradicts beside that step.

    `polls`: who has read each step.
    """
    return {step: _without(ballot, set(_contested(step, polls, ballots))) for step, ballot in ballots.items()}


def _without(ballot: Ballot, contested: set[str]) -> Ballot:
    if not contested:
        return ballot
    accepted = {uid: holder for uid, holder in ballot.accepted.items() if uid not in contested}
    return replace(
        ballot, accepted=accepted, refused={**ballot.refused, **dict.fromkeys(contested, Reason.NO_MAJORITY)}
    )


def _contested(step: int, polls: Mapping[int, Sequence[Holder]], ballots: Mapping[int, Ballot]) -> Iterator[str]:
    """By pod UID. Not where they are more than those who contradict: so many would have won that vote, too."""
    accepted, voted = ballots[step].accepted, {holder.uid for holder in polls[step]}
    for build in {holder.build for holder in accepted.values()}:
        own = {uid for uid, holder in accepted.items() if holder.build == build}
        others = {at: _strangers(poll, own, voted, build) for at, poll in polls.items()}
        beside = _nearest(step, [at for at, found in others.items() if found])
        if beside is not None and len(own) <= others[beside] and own.isdisjoint(ballots[beside].accepted):
            yield from own


def _strangers(poll: Sequence[Holder], own: set[str], voted: set[str], build: str) -> int:
    """How many have read this step in one epoch with some of `own`, and have not `voted`."""
    epochs = {holder.generation.epoch for holder in poll if holder.uid in own} - {None}
    read = (holder for holder in poll if holder.uid not in voted and holder.build == build)
    return sum(holder.generation.epoch in epochs for holder in read)


def _nearest(step: int, others: Sequence[int]) -> int | None:
    """The next one below; where there is none, the next one above."""
    below = max((each for each in others if each < step), default=None)
    return below if below is not None else min((each for each in others if each > step), default=None)
