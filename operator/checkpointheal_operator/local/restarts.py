"""A process of a pod ended: is it started again, and when?

Pure: every time is an argument. The pauses are the kubelet's, with a shorter ceiling: nobody waits five minutes at a
terminal.
"""

from dataclasses import dataclass

from checkpointheal.contract.base import Count, Frozen, Seconds


class Limits(Frozen):
    """How often and how soon a container that failed is started again. Times in seconds."""

    restarts: Count = 2
    """Failures within `window` that are answered by a start; the next one ends the job."""
    backoff: Seconds = 1.0
    """Pause after the first failure; each further one within `window` doubles it."""
    ceiling: Seconds = 60.0
    """Longest pause."""
    window: Seconds = 3600.0
    """A failure older than this is forgotten."""


@dataclass(frozen=True)
class Again:
    """Start it again after `pause` seconds."""

    pause: float
    failures: tuple[float, ...]


@dataclass(frozen=True)
class NoMore:
    """It failed too often."""

    count: int


def after_failure(now: float, failures: tuple[float, ...], limits: Limits) -> Again | NoMore:
    """What follows a failure at `now`. `failures`: when it failed before."""
    recent = (*(t for t in failures if t > now - limits.window), now)
    if len(recent) > limits.restarts:
        return NoMore(len(recent))
    return Again(min(limits.ceiling, limits.backoff * 2.0 ** (len(recent) - 1)), recent)
