"""The loop of `checkpointheal run`: one thread, woken by signals, by the agent, or by the time.

It carries out what `restarts.after` says and tells the agent what it sees. The decisions are there, the system calls in
`trainer`, `warm`, `line` and `waking`.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from checkpointheal.contract.trainer import Exited, Hello
from checkpointheal.run import trainer
from checkpointheal.run.line import AgentLine
from checkpointheal.run.restarts import SIGNALLED, Leave, Life, Limits, Start, after
from checkpointheal.run.waking import wait, wake_on
from checkpointheal.run.warm import Warm
from checkpointheal.saying import say

INCARNATION = "CHECKPOINTHEAL_INCARNATION"
ENDING = frozenset({signal.SIGTERM, signal.SIGINT})
FORWARDED = ENDING | {signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
LEAVING_GRACE = 10.0
"""Seconds that what a leaving trainer left behind may still take to end by itself."""
UNKILLABLE = 10.0
"""Seconds after which a process that SIGKILL does not end, stuck in the kernel, is no longer waited for."""
MOMENT = 0.05
"""Seconds until a start that did not come about is tried again, cold."""


@dataclass
class Alive:
    """The trainer that runs now."""

    group: int
    incarnation: str
    started: float
    ordered: bool = False


@dataclass(frozen=True)
class Ended:
    """The trainer that ran last, and when what it left behind is killed, and given up."""

    status: int | None
    """None before the first one has run."""
    kill_at: float

    @property
    def give_up_at(self) -> float:
        """When a leftover is no longer waited for."""
        return self.kill_at + UNKILLABLE


class Loop:
    """Keeps one trainer going."""

    def __init__(self, command: Sequence[str], limits: Limits, lines: Sequence[AgentLine], warm: Warm) -> None:
        """`lines`: to the agent of each seat that it starts trainers for, more than one where CMD is a launcher."""
        self._command, self._limits, self._lines, self._warm = command, limits, lines, warm
        self._alive: Alive | None = None
        self._ended = Ended(None, kill_at=0.0)
        self._next: Start | Leave = Start(0.0, (), "")
        self._failures: tuple[float, ...] = ()
        self._leaving = False

    def run(self) -> int:
        """Start the trainer, again and again, until there is an exit status to leave with. Once per process."""
        trainer.adopt_orphans()
        woken = wake_on([*FORWARDED, signal.SIGCHLD])
        self._warm.start_first(time.monotonic())
        while True:
            now = time.monotonic()
            if (status := self._go_on(now)) is not None:
                self._warm.drop(now)
                return status
            for number in wait(woken, (*self._lines, self._warm), self._next_moment(now)):
                self._take_signal(number)
            self._take_orders()
            self._hear_warm()
            for change in trainer.changes():
                self._take_change(change)

    def _go_on(self, now: float) -> int | None:
        """Carry out what is due; returns the exit status once there is one."""
        for line in self._lines:
            if (retry_at := line.retry_at) is not None and retry_at <= now:
                line.connect(now)
        if self._alive:
            if (due := self._warm.due(self._alive.started)) is not None and due <= now:
                self._warm.start()
            return None
        if not self._is_clear(now):
            return None
        match self._next:
            case Leave(status):
                return status
            case Start(at) as start if max(at, self._warm.awaited_until) <= now:
                self._start(start, now)
        return None

    def _start(self, start: Start, now: float) -> None:
        incarnation = os.urandom(16).hex()
        group = (
            self._warm.fork(f"{INCARNATION}={incarnation}", now)
            if self._warm.ready
            else trainer.start(self._command, {INCARNATION: incarnation})
        )
        if group is None:  # a late answer would be a second trainer: what is left of the warm process goes first
            _tell("the warm process does not answer; this start is cold")
            self._ended = replace(self._ended, kill_at=now)
            self._next = replace(start, at=now + MOMENT)
            return
        self._failures = start.failures
        self._alive = Alive(group, incarnation, now)
        for line in self._lines:
            line.say_started(Hello(role="run", incarnation=incarnation, pid=os.getpid()))

    def _is_clear(self, now: float) -> bool:
        """Whether nothing of the last incarnation is left: it would hold the device's memory and the ports."""
        left = [pid for pid in trainer.children() if pid != self._warm.pid]
        if now >= self._ended.kill_at:
            trainer.send_each(left, signal.SIGKILL)
        return not left or now >= self._ended.give_up_at

    def _next_moment(self, now: float) -> float | None:
        """When to look again although nothing happened."""
        moments = [line.retry_at for line in self._lines]
        if self._alive:
            moments += [self._warm.due(self._alive.started)]
        else:
            moments += [self._ended.kill_at, self._ended.give_up_at]
            moments += [self._next.at, self._warm.awaited_until] if isinstance(self._next, Start) else []
        return min((moment for moment in moments if moment is not None and moment > now), default=None)

    def _take_signal(self, number: int) -> None:
        if number not in FORWARDED:
            return
        self._leaving = self._leaving or number in ENDING
        if self._alive:
            trainer.send(self._alive.group, number)
            trainer.send(self._alive.group, signal.SIGCONT)
        elif self._leaving and isinstance(self._next, Start):
            ended = self._ended.status
            # Where none has run yet, a 0 would say that training is over.
            self._next = Leave(SIGNALLED + number if ended is None else ended, "told to end")

    def _take_orders(self) -> None:
        for order in [each for line in self._lines for each in line.hear()]:
            if self._alive and order.incarnation == self._alive.incarnation:
                _tell(f"the agent ends this trainer: {order.reason}")
                self._alive.ordered = True
                trainer.send(self._alive.group, signal.SIGKILL)

    def _hear_warm(self) -> None:
        if (sentence := self._warm.hear(time.monotonic())) is not None:
            _tell(sentence)

    def _take_change(self, change: trainer.Change) -> None:
        if not self._alive or change.pid != self._alive.group:
            return
        match change.what:
            case "exited":
                self._take_end(self._alive, code=change.number)
            case "killed":
                self._take_end(self._alive, signal=change.number)
            case "stopped" | "continued" as what:
                self._say_exited(Exited(incarnation=self._alive.incarnation, stopped=what == "stopped"))

    def _take_end(self, alive: Alive, code: int | None = None, signal: int | None = None) -> None:
        life = Life(alive.started, time.monotonic(), code, signal, alive.ordered)
        self._alive = None
        self._ended = Ended(life.status, kill_at=life.ended + (LEAVING_GRACE if self._leaving else 0.0))
        self._next = after(life, self._failures, self._limits, leaving=self._leaving)
        self._say_exited(Exited(incarnation=alive.incarnation, code=code, signal=signal))
        if isinstance(self._next, Start):
            _tell(f"{self._next.why}; the trainer starts again in {max(0.0, self._next.at - life.ended):.1f} s")
        elif life.status:
            _tell(self._next.why)

    def _say_exited(self, exited: Exited) -> None:
        for line in self._lines:
            line.say_exited(exited)


def _tell(sentence: str) -> None:
    say(f"checkpointheal run: {sentence}\n", sys.stderr)
