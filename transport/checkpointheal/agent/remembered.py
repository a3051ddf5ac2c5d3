"""What must outlive a restart of the agent: the numbers that fence, in one small file beside the arena.

Must not know what the numbers fence.
"""

import contextlib
import os
from pathlib import Path

from pydantic import ValidationError

from checkpointheal.contract.base import Count, Frozen

FILE_LIMIT = 1 << 12


class Numbers(Frozen):
    """Each only grows."""

    request: Count = 0
    attempt: Count = 0
    epoch_answered: Count = 0


class Remembered:
    """The numbers, on disk before they are used."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "agent.numbers.json"
        self.numbers = self._read()

    def grow(self, *, request: int = 0, attempt: int = 0, epoch_answered: int = 0) -> Numbers:
        """Raise each number to at least the given one; the file is replaced before this returns."""
        now = self.numbers
        grown = Numbers(
            request=max(now.request, request),
            attempt=max(now.attempt, attempt),
            epoch_answered=max(now.epoch_answered, epoch_answered),
        )
        if grown != now:
            beside = self._path.with_suffix(".tmp")
            beside.write_text(grown.model_dump_json())
            os.replace(beside, self._path)
            self.numbers = grown
        return grown

    def _read(self) -> Numbers:
        with contextlib.suppress(OSError, ValidationError), self._path.open("rb") as file:
            return Numbers.model_validate_json(file.read(FILE_LIMIT))
        return Numbers()
