"""One membership, as a context: `with epoch:` tells a lost peer from the user's own mistake.

The agent says that an epoch is over; then blocked collectives are ended until it is left, and a process that does not
leave it in time is ended. An error is taken for the epoch's only with that word. Must not know groups or states.
"""

import faulthandler
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from checkpointheal import errors
from checkpointheal.contract.trainer import EpochOver
from checkpointheal.trainer.deadline import end_unless, press_until
from checkpointheal.trainer.ending import CAUSE_GRACE, is_of_a_collective
from checkpointheal.trainer.faults import Faults


class Epoch:
    """`number`, and the `step` that the state belongs to.

    `end_collectives` is called again and again once it is over; `wake`, so that who waits for a peer looks up.
    """

    word_within = 20.0
    """Seconds that the error of a lost collective waits for the word: a silent pod is given up after a while only."""

    def __init__(self, number: int, end_collectives: Callable[[], None], wake: Callable[[], None]) -> None:
        self.number, self.step = number, 0
        self.members = 1
        """How many are in it: what gradients are averaged over."""
        self.left_out: tuple[int, ...] = ()
        """The world's ranks that are not in it. Nobody reads what was theirs to read."""
        self.faults = Faults()
        self.finishes: Callable[[], None] = lambda: None
        """Called where the body ended without an error: do all members end here?"""
        self.is_last = False
        self._entered = self._is_recalled = False
        self._end_collectives, self._wake = end_collectives, wake
        self._over, self._left = threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        """Train in it."""
        self._entered = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        """Whether the error was the epoch's. A lost collective without that word is raised as it was."""
        if error is None:
            self._finish()
            return False
        if not isinstance(error, Exception):
            return False
        if self.was_ended():
            self._say(error)
            return True
        if isinstance(error, errors.EpochOver) and self.faults.noted is not None:
            raise self.faults.noted from None
        return False

    @property
    def is_over(self) -> bool:
        """Whether the agent has said so."""
        return self._over.is_set()

    def was_ended(self) -> bool:
        """Whether the agent says, within the grace that there is reason for, that it is over."""
        return self._is_recalled or self._over.wait(self.word_within if self.faults.noted is not None else CAUSE_GRACE)

    def require_entered(self) -> None:
        """Raise Misuse where its body did not stand in `with epoch:`, for then nobody knows how it ended."""
        if not self._entered:
            raise errors.Misuse("an epoch went by without `with epoch:`: put the training loop of each epoch into it")

    def require_whole(self) -> None:
        """Raise EpochOver where a collective of this epoch was lost: no update may be made of what came out of it."""
        if (noted := self.faults.noted) is not None:
            first_line = str(noted).partition("\n")[0]
            raise errors.EpochOver(f"epoch {self.number} has lost a collective: {first_line}")

    def require_open(self) -> None:
        """Raise EpochOver where the agent has said so."""
        if self.is_over:
            raise errors.EpochOver(f"epoch {self.number} is over")

    def recall(self) -> None:
        """All leave it here, with nobody lost: no collective is carried out any more, and no update made."""
        self._is_recalled = True
        self.faults.note(errors.EpochOver(f"epoch {self.number} is left for a member that is back"))

    def end(self, told: EpochOver) -> None:
        """The agent says that it is over. Called on any thread; returns at once."""
        if self._over.is_set() or self._left.is_set():
            return
        self.faults.over = True
        self._over.set()
        self._wake()
        press_until(self._left, self._end_collectives, at_once=True)
        end_unless(self._left, told.deadline, partial(_last_words, told))

    def leave(self) -> None:
        """Nothing waits in it any more."""
        self._left.set()

    def _finish(self) -> None:
        """Where a peer is lost at the very end, the others are not done: another epoch follows."""
        self.finishes()
        self.is_last = not self.faults.is_lost
        if self.faults.noted is not None and not self.was_ended():
            raise self.faults.noted

    def _say(self, error: Exception) -> None:
        if self._is_recalled and not self.is_over:
            sys.stderr.write(f"checkpointheal: {self.faults.noted}\n")
            return
        noted = self.faults.noted or error
        kind = "a lost peer" if is_of_a_collective(noted) else type(error).__name__
        where = traceback.extract_tb(error.__traceback__)[-1].name if error.__traceback__ else "?"
        first_line = str(noted).partition("\n")[0]
        sys.stderr.write(f"checkpointheal: epoch {self.number} ended by {kind} in {where}: {first_line}\n")


def alone(begin: Callable[[], int] | None) -> Epoch:
    """The only epoch of a trainer that has no agent: it never ends, and every error is the user's."""
    epoch = Epoch(0, lambda: None, lambda: None)
    epoch.step = begin() if begin else 0
    return epoch


def _last_words(told: EpochOver) -> None:
    sys.stderr.write(
        f"checkpointheal: epoch {told.epoch} is over ({told.reason}: {told.message}); it was not left in time\n"
    )
    sys.stderr.flush()
    faulthandler.dump_traceback(all_threads=True)  # where it was held up
