"""Where do decisions and sentences go: plain lines on a stream, and all of them into `operator.log`.

Must not know what they mean. The live view is `live`'s.
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from checkpointheal.saying import say
from checkpointheal_operator.core.decisions import Decision, Nothing, Wait, held_by
from checkpointheal_operator.core.view import JobView

LOG = "operator.log"


def in_words(decision: Decision) -> str:
    """A wait by its length: the clock by which it ends is nobody else's."""
    if isinstance(decision, Wait) and decision.until is not None:
        return f"Wait for {max(0.0, decision.until - time.monotonic()):.0f} s ({decision.reason}): {decision.message}"
    return f"{decision}: {decision.message}"


class Lines:
    """Plain lines. With `verbose`, also what is waited for."""

    def __init__(self, stream: TextIO | None, *, verbose: bool) -> None:
        self._stream, self._verbose = stream, verbose

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to put back."""

    def told(self, decision: Decision) -> None:
        """One line per decision that does something, or that asks a person to."""
        if self._verbose or not isinstance(decision, Nothing | Wait) or held_by(decision):
            self.noted(in_words(decision))

    def noted(self, sentence: str) -> None:
        """One line."""
        say(f"{time.strftime('%H:%M:%S')}  {sentence}\n", self._stream)

    def looked(self, view: JobView) -> None:
        """Lines say what is decided, not how things stand."""


class OperatorLog:
    """Everything, with the date, in the folder of the logs. `complain` hears once that it cannot be written."""

    def __init__(self, folder: Path, complain: Callable[[str], None] = lambda _sentence: None) -> None:
        """Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self._file, self._complain = (folder / LOG).open("a", buffering=1), complain
        self._is_amiss = False

    def told(self, decision: Decision) -> None:
        """One line per decision, what is waited for included."""
        self.noted(in_words(decision))

    def noted(self, sentence: str) -> None:
        """One line."""
        try:
            self._file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {sentence}\n")
        except OSError as error:
            if not self._is_amiss:
                self._complain(f"{self._file.name} cannot be written ({error.strerror}): the job goes on without it")
            self._is_amiss = True

    def close(self) -> None:
        """Nothing more comes."""
        with contextlib.suppress(OSError):
            self._file.close()


def both(first: Callable[[Decision], None], second: Callable[[Decision], None]) -> Callable[[Decision, JobView], None]:
    """A hook for decisions that tells two."""

    def told(decision: Decision, _view: JobView) -> None:
        first(decision)
        second(decision)

    return told
