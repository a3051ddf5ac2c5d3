"""How does this process end when its epoch is over, so that the next one can restore?

A peer is lost, so every collective of this membership is lost too. Blocked ones are ended, the user's own clean-up
runs, and the process leaves with EXIT_EPOCH_OVER, or is ended at the deadline. Must not know the state.
"""

import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import NoReturn

import torch.distributed as dist

from checkpointheal.contract.trainer import EXIT_EPOCH_OVER, EpochOver
from checkpointheal.trainer.deadline import end_unless, press_until

CAUSE_GRACE = 1.0
"""Seconds that an error waits for the agent's word: it may be a lost peer, or its garbage, felt before it is told."""
COLLECTIVE_GRACE = 5.0
"""The same for an error out of a collective, which nearly always is one."""
UNCAUGHT = 1
"""What Python leaves with after an error that nobody caught."""


class Ending:
    """Watches over the end of one process. `end_collectives` is called again and again once the epoch is over."""

    def __init__(self, end_collectives: Callable[[], int]) -> None:
        self._end_collectives = end_collectives
        self._over, self._rested = threading.Event(), threading.Event()
        self._told: EpochOver | None = None
        self._failed_by_collective = False
        self._earlier_hook = sys.excepthook
        sys.excepthook = self._on_error
        atexit.register(self._leave)

    @property
    def is_over(self) -> bool:
        """Whether the agent has said so."""
        return self._over.is_set()

    def begin(self, told: EpochOver) -> None:
        """The agent says that the epoch is over. Called on any thread; returns at once."""
        if not self._over.is_set() and not self._rested.is_set():
            self._told = told
            self._over.set()
            press_until(self._rested, self._end_collectives)
            end_unless(self._rested, told.deadline, lambda: self._say("it did not end by itself in time"))

    def end(self) -> NoReturn:
        """End this process from its training loop, through the user's own clean-up."""
        raise SystemExit(EXIT_EPOCH_OVER)

    def rest(self) -> None:
        """Training is done: how this process ends is no longer our business."""
        self._rested.set()
        atexit.unregister(self._leave)

    def _on_error(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        of_collective = is_of_a_collective(error)
        grace = COLLECTIVE_GRACE if of_collective else CAUSE_GRACE
        self._failed_by_collective = of_collective
        over = issubclass(kind, Exception) and self._over.wait(grace)
        if over and of_collective:
            first_line = str(error).partition("\n")[0]
            sys.stderr.write(f"checkpointheal: ended by the end of the epoch, with {kind.__name__}: {first_line}\n")
        else:
            self._earlier_hook(kind, error, trace)

    def _leave(self) -> None:
        """Whatever status the process would leave with, it ends because its epoch did.

        One that a collective failed leaves here, too, though nobody confirms a lost peer, as where no operator leads:
        its groups hold the interpreter's own end up, where no thread runs that could keep a deadline.
        """
        if self._over.is_set():
            self._say("it ends so that it can restore")
            os._exit(EXIT_EPOCH_OVER)
        if self._failed_by_collective:
            _flush()
            os._exit(UNCAUGHT)

    def _say(self, why: str) -> None:
        if (told := self._told) is not None:
            sys.stderr.write(f"checkpointheal: epoch {told.epoch} is over ({told.reason}: {told.message}); {why}\n")
        _flush()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def is_of_a_collective(error: BaseException) -> bool:
    """Whether it came out of a collective, itself or as what another one was raised from."""
    return any(
        isinstance(each, dist.DistError) or (isinstance(each, RuntimeError) and "gloo" in str(each))
        for each in _origins(error)
    )


def _origins(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
