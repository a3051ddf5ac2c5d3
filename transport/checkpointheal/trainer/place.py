"""Where does this trainer stand in its job: in which epoch, at which step?

Must not know how it came there, nor who asks.
"""

import operator
import threading

from checkpointheal.contract.base import MOST
from checkpointheal.contract.trainer import Restored
from checkpointheal.errors import Misuse


class Place:
    """Written by the training loop; the thread that hears the agent reads along."""

    def __init__(self) -> None:
        self.epoch = 0
        """0: in none yet."""
        self.step: int | None = None
        """The latest one that was given back, or kept since."""
        self.private_step: int | None = None
        """The earlier step whose private part it went on with."""
        self.has_joined = threading.Event()
        """It has trained in its epoch, or met those who will."""
        self._highest = -1

    def take(self, answer: Restored) -> None:
        """The one that the agent has for it."""
        self.epoch, self.step, self.private_step = answer.epoch, answer.step, answer.private_step
        self._highest = max(-1 if each is None else each for each in (answer.step, answer.highest))

    def is_behind(self, step: int) -> bool:
        """Whether this step lies before what the trainer holds: its loop did not begin where it was told to."""
        return self.step is not None and step < self.step

    def is_ahead(self, step: int) -> bool:
        """Whether this step is still to be kept."""
        return self.step is None or step > self.step

    def reach(self, step: int) -> bool:
        """Whether the job has never come so far, before a heal either."""
        is_new = step > self._highest
        self._highest = max(step, self._highest)
        return is_new


def as_step(given: object) -> int:
    """The step that the user gave. Raises Misuse for what is none, before anything is kept under it."""
    try:
        step = -1 if isinstance(given, bool) else operator.index(given)  # type: ignore[arg-type]
    except TypeError:
        step = -1
    if not 0 <= step <= MOST:
        raise Misuse(f"commit() was given {given!r}: a step is the number of completed updates, an int from 0 on")
    return step
