"""How does `run` have its next trainer forked from a warm process, without ever depending on one?

A child that may not be ready, be gone or not answer: then the trainer is started cold. Must not decide when a trainer
starts.
"""

import contextlib
import os
import select
import signal
import socket
from collections.abc import Sequence

from checkpointheal.run import trainer
from checkpointheal.warm import COLD, EAGER, HOOK, ORDERS, PATIENT, READY, WORD_LIMIT

MODULES = ("torch", "torch._dynamo", "torch.distributed", "checkpointheal.trainer")
"""Imported by a warm process. A first optimizer brings `torch._dynamo`, which takes longer than torch itself."""
FIRST = 120.0
"""Seconds that the very first trainer waits for a warm process: by itself it would have to import the same."""
DELAY = 1.0
"""Seconds that a trainer has lived before a lost warm process is replaced beside it."""
ANSWER = 2.0
"""Seconds that a warm process has to fork."""
PAUSE = 4.0
"""Seconds before a lost warm process is replaced; doubled with each one."""


class Warm:
    """The process that trainers are forked from, or its absence. `fileno` may be watched while `connected`."""

    def __init__(self, command: Sequence[str], modules: Sequence[str] = (), first: float = FIRST) -> None:
        """No `modules`: there is never one."""
        self._command, self._modules, self._first = command, modules, first
        self._socket: socket.socket | None = None
        self._pid: int | None = None
        self._ready = False
        self._awaited_until = 0.0
        self._not_before = 0.0
        self._pause = PAUSE

    @property
    def pid(self) -> int | None:
        """The process, while it is of use."""
        return self._pid

    @property
    def connected(self) -> bool:
        """Whether there is one."""
        return self._socket is not None

    @property
    def ready(self) -> bool:
        """Whether it can fork."""
        return self._ready

    def fileno(self) -> int:
        """For selectors; -1 while there is none."""
        return self._socket.fileno() if self._socket else -1

    def due(self, trainer_started: float) -> float | None:
        """When to start one beside a trainer that lives since then; None where there is no need."""
        return max(trainer_started + DELAY, self._not_before) if self._modules and not self.connected else None

    @property
    def awaited_until(self) -> float:
        """Until when a start had better wait for it; in the past where none should."""
        return self._awaited_until if self.connected and not self._ready else 0.0

    def start_first(self, now: float) -> None:
        """Before the first trainer, which is worth waiting for: nobody else needs the processor yet."""
        if self._modules and self._first:
            self.start(patient=False)
            self._awaited_until = now + self._first

    def start(self, *, patient: bool = True) -> None:
        """Have the user's interpreter imported our hook, with the user's command still before it.

        A patient one gives way to the trainer beside it.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            theirs.set_inheritable(True)
            manner = PATIENT if patient else EAGER
            orders = " ".join((str(theirs.fileno()), str(os.getpid()), manner, *self._modules))
            path = os.pathsep.join(filter(None, (str(HOOK), os.environ.get("PYTHONPATH"))))
            self._pid = trainer.start(self._command, {ORDERS: orders, "PYTHONPATH": path})
        self._socket = ours

    def hear(self, now: float) -> str | None:
        """What it says: a sentence for people, None where there is no news."""
        if self._socket is None or not select.select([self._socket], [], [], 0)[0]:
            return None
        word, _, reason = self._receive().partition(" ")
        if word == READY:
            self._ready = True
            return "the next trainer starts warm"
        if word == COLD:
            self._modules = ()
        self.drop(now)
        return f"all starts stay cold: {reason}" if word == COLD else "the warm process is gone; another one follows"

    def fork(self, variable: str, now: float) -> int | None:
        """The pid of a new trainer, the leader of its group, with `NAME=VALUE` in its environment.

        None where there is no answer: there is no warm process any more, and what it may have begun is yet to be
        cleared away.
        """
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(variable.encode())
                if select.select([self._socket], [], [], ANSWER)[0] and (pid := self._receive()).isdecimal():
                    return int(pid)
        self.drop(now)
        return None

    def drop(self, now: float) -> None:
        """End it."""
        if self._socket is None or self._pid is None:
            return
        trainer.send(self._pid, signal.SIGKILL)
        self._socket.close()
        self._socket, self._pid, self._ready = None, None, False
        self._not_before, self._pause = now + self._pause, self._pause * 2

    def _receive(self) -> str:
        """Its next word; empty where it is gone."""
        try:
            return self._socket.recv(WORD_LIMIT).decode() if self._socket else ""
        except OSError:
            return ""
