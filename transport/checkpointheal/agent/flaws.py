"""What is wrong, by the word of those who found it?

Everything in the agent that finds something says so here under its own name, and says when it is over. Must not know
what follows from it.
"""

from collections.abc import Callable

from checkpointheal.contract.report import Flaw
from checkpointheal.errors import ArenaDoesNotFit, CheckpointHealError

LINGER = 5.0
"""Seconds for which a flaw that is over is still reported: it is seen, and one that comes and goes is told once."""


class Flaws:
    """What is wrong, by who found it. `clock` tells seconds that only grow."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._found: dict[str, Flaw] = {}
        self._over: dict[str, tuple[Flaw, float]] = {}

    def found(self, where: str, flaw: Flaw) -> None:
        """It is so, until `over`."""
        self._found[where] = flaw

    def over(self, where: str) -> None:
        """What was found there is so no more."""
        if where in self._found:
            self._over[where] = self._found.pop(where), self._clock() + LINGER

    def standing(self) -> tuple[Flaw, ...]:
        """For the report: one for each reason, in order; those that are over for a moment still."""
        self._over = {where: kept for where, kept in self._over.items() if self._clock() < kept[1]}
        every = (*(flaw for flaw, _ in self._over.values()), *self._found.values())
        by_reason = {flaw.reason: flaw for flaw in every}
        return tuple(by_reason[reason] for reason in sorted(by_reason))


def flaw_of(error: CheckpointHealError | OSError) -> Flaw:
    """What an error of the arena comes to."""
    if isinstance(error, ArenaDoesNotFit):
        return Flaw(
            reason=error.reason,
            message=str(error),
            arena_bytes=error.arena_bytes,
            memory_bytes=error.memory_bytes,
        )
    reason = error.reason if isinstance(error, CheckpointHealError) else "ArenaUnusable"
    return Flaw(reason=reason, message=str(error))
