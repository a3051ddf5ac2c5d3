"""How are several trainers of one pod kept going by one PID 1?

It forks a `run` for each of them, every one with its own trainer, restarts and line to its own agent; what one leaves
behind is found and killed by its own `run` alone. Signals go on to all. Once one has failed for good, the others are
told to end: the container must fail, and its pod be made anew. Must not know what a `run` does.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping

from checkpointheal.run import trainer
from checkpointheal.run.loop import FORWARDED
from checkpointheal.run.restarts import SIGNALLED
from checkpointheal.run.waking import wait, wake_on
from checkpointheal.saying import say
from checkpointheal.tether import PR_SET_PDEATHSIG

GRACE = 30.0
"""Seconds that the others may take to end, once one has failed for good."""


class Crew:
    """All `run`s of a pod, by local rank. `one` keeps a single trainer going, and returns its exit status."""

    def __init__(self, variables: tuple[Mapping[str, str], ...], one: Callable[[], int]) -> None:
        """`variables`: what each trainer finds in its environment besides ours."""
        self._variables, self._one = variables, one
        self._alive: dict[int, int] = {}
        self._statuses: dict[int, int] = {}
        self._kill_at: float | None = None

    def run(self) -> int:
        """Start all; returns when all have left, with the status of the first that failed. Once per process."""
        trainer.adopt_orphans()
        woken = wake_on([*FORWARDED, signal.SIGCHLD])
        self._alive = {self._fork(variables): rank for rank, variables in enumerate(self._variables)}
        while self._alive:
            for number in wait(woken, (), self._kill_at):
                if number in FORWARDED:
                    self._send(number)
            for change in trainer.changes():
                self._take_change(change)
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._send(signal.SIGKILL)
                self._kill_at = None
        return next((status for status in self._statuses.values() if status), 0)

    def _fork(self, variables: Mapping[str, str]) -> int:
        """It leads a group, so that a Ctrl-C at a terminal is for this process alone, and dies with it."""
        parent = os.getpid()
        if (pid := os.fork()) == 0:
            os._exit(self._become(variables, parent))
        return pid

    def _become(self, variables: Mapping[str, str], parent: int) -> int:
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel was told
            return SIGNALLED + signal.SIGKILL
        os.environ.update(variables)
        return self._one()

    def _send(self, number: int) -> None:
        trainer.send_each(list(self._alive), number)

    def _take_change(self, change: trainer.Change) -> None:
        if change.pid not in self._alive or change.what not in ("exited", "killed"):
            return
        rank = self._alive.pop(change.pid)
        self._statuses[rank] = change.number + (SIGNALLED if change.what == "killed" else 0)
        if self._statuses[rank] and self._alive and self._kill_at is None:
            why = f"local rank {rank} has failed for good: the others are told to end"
            say(f"checkpointheal run: {why}\n", sys.stderr)
            self._kill_at = time.monotonic() + GRACE
            self._send(signal.SIGTERM)
