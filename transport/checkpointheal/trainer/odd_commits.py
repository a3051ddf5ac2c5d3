"""What is said of a commit that the training loop makes at the wrong place?

Once of each kind, and training goes on. Must not know how a step is kept.
"""

import logging
import os

log = logging.getLogger("checkpointheal")


class OddCommits:
    """Of one trainer, which is the process that made this."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._said: set[str] = set()

    def are_of_a_fork(self) -> bool:
        """Whether this process has only the trainer's objects, and none of its connections: that is said."""
        if self._pid == os.getpid():
            return False
        self._say(
            f"this process is a fork of the trainer, process {self._pid}, and nothing is kept of it: call attach() in "
            "the process that trains"
        )
        return True

    def lies_behind(self, step: int, held: int | None) -> None:
        """Its loop did not begin where it was told to."""
        self._say_of_steps(
            f"commit({step}) lies behind step {held}, whose state this is: updates are made twice; begin the loop at "
            "what restore() returned, or at epoch.step"
        )

    def comes_late(self, step: int) -> None:
        """It does not count the update that was made of the state that was given back."""
        self._say_of_steps(
            f"commit({step}) comes behind an update of the state of step {step}, which was given back: that update is "
            "made twice; a step is the number of completed updates, so behind optimizer.step() say commit(step + 1)"
        )

    def _say_of_steps(self, sentence: str) -> None:
        self._say(sentence, "steps")

    def _say(self, sentence: str, kind: str = "fork") -> None:
        if kind not in self._said:
            self._said.add(kind)
            log.warning("checkpointheal: %s", sentence)
