"""The trainer ended: what now?

Pure: every time is an argument. Must not know processes or the agent.

    leaving                      leave, with the trainer's own status
    exit 0                       leave: training is over
    exit EXIT_EPOCH_OVER         start again, uncounted: nothing is wrong with it
    ended by order of the agent  start again, uncounted: who ordered it counts
    anything else                start again: the first time at once, for a heal waits for it; then after a back-off
                                 that doubles; or leave beyond the limit
"""

from dataclasses import dataclass

from checkpointheal.contract.trainer import EXIT_EPOCH_OVER

SIGNALLED = 128
"""A shell's status for a process that a signal ended is this plus the signal's number."""


@dataclass(frozen=True)
class Limits:
    """How often and how soon a failed trainer is started again. Times in seconds."""

    restarts: int = 10
    """Failures within `window` that are answered by a start; the next one is the last."""
    backoff: float = 1.0
    """Pause after the second failure; each further one within `window` doubles it."""
    ceiling: float = 60.0
    """Longest pause."""
    window: float = 3600.0
    """A failure older than this is forgotten."""
    settled: float = 600.0
    """A life as long as this was a healthy one: what failed before it is forgotten."""
    spacing: float = 1.0
    """Least time between two starts, so that a trainer that always ends at once does not spin."""


@dataclass(frozen=True)
class Life:
    """One life of the trainer, from its start to its end. Either `code` or `signal` is set."""

    started: float
    ended: float
    code: int | None = None
    signal: int | None = None
    ordered: bool = False
    """The agent had it killed, because it stood still."""

    @property
    def status(self) -> int:
        """What a shell would call its exit status."""
        return self.code if self.code is not None else SIGNALLED + (self.signal or 0)


@dataclass(frozen=True)
class Start:
    """Start it again, not before `at`."""

    at: float
    failures: tuple[float, ...]
    why: str


@dataclass(frozen=True)
class Leave:
    """Exit with this status."""

    status: int
    why: str


def after(life: Life, failures: tuple[float, ...], limits: Limits, *, leaving: bool) -> Start | Leave:
    """What follows `life`. `failures`: when earlier lives failed; `leaving`: this process was told to end."""
    if leaving or life.code == 0:
        return Leave(life.status, "told to end" if leaving else "the trainer is done")
    if life.code == EXIT_EPOCH_OVER or life.ordered:
        why = "killed, it stood still" if life.ordered else "its epoch is over"
        return Start(max(life.ended, life.started + limits.spacing), failures, why)
    settled = life.ended - life.started >= limits.settled
    recent = (*(t for t in failures if t > life.ended - limits.window and not settled), life.ended)
    if len(recent) > limits.restarts:
        return Leave(life.status, f"{_how(life)}, failure {len(recent)} in {limits.window:g} s: no more restarts")
    pause = min(limits.ceiling, limits.backoff * 2.0 ** (len(recent) - 2)) if len(recent) > 1 else 0.0
    at = max(life.ended + pause, life.started + limits.spacing)
    return Start(at, recent, f"{_how(life)}, failure {len(recent)} of {limits.restarts}")


def _how(life: Life) -> str:
    return f"exit {life.code}" if life.code is not None else f"signal {life.signal}"
