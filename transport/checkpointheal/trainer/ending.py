"""How does this process end when its epoch is over, so that the next one can restore?

A peer is lost, so every collective of this membership is lost too. Blocked ones are ended, the user's own clean-up
runs, and the process leaves with EXIT_EPOCH_OVER, or is ended at the deadline. Must not know the state.
"""

import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

from checkpointheal.contract.trainer import EXIT_EPOCH_OVER, EpochOver

CAUSE_GRACE = 1.0
"""Seconds that an error waits for the agent's word: a lost peer is often felt before it is told."""


class Ending:
    """Watches over the end of one process. `end_collectives` is called until it has nothing left to end."""

    def __init__(self, end_collectives: Callable[[], int]) -> None:
        self._end_collectives = end_collectives
        self._over = threading.Event()
        self._told: EpochOver | None = None
        self._failed = False
        self._earlier_hook = sys.excepthook
        sys.excepthook = self._on_error
        atexit.register(self._leave)

    def begin(self, told: EpochOver) -> None:
        """The agent says that the epoch is over. Called on the line's thread; returns at once."""
        if not self._over.is_set():
            self._told = told
            self._over.set()
            threading.Thread(target=self._press, name="checkpointheal-ending", daemon=True).start()

    def _press(self) -> None:
        told = self._told
        if told is None:
            return
        deadline = time.monotonic() + told.deadline
        while time.monotonic() < deadline:
            self._end_collectives()
            time.sleep(0.1)
        self._exit("it did not end by itself in time")

    def _on_error(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self._failed = True
        if issubclass(kind, Exception) and self._over.wait(CAUSE_GRACE):
            first_line = str(error).partition("\n")[0]
            sys.stderr.write(f"checkpointheal: ended by the end of the epoch, with {kind.__name__}: {first_line}\n")
        else:
            self._earlier_hook(kind, error, trace)

    def _leave(self) -> None:
        if self._over.is_set() and self._failed:
            self._exit("it ends so that it can restore")

    def _exit(self, why: str) -> None:
        told = self._told
        if told is not None:
            sys.stderr.write(f"checkpointheal: epoch {told.epoch} is over ({told.reason}: {told.message}); {why}\n")
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(EXIT_EPOCH_OVER)
