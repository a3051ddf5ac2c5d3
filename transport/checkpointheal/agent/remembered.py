"""What must outlive a restart of the agent: the numbers that fence, in one small file beside the arena.

Must not know what the numbers fence.
"""

import contextlib
import logging
import os
from pathlib import Path

from pydantic import ValidationError

from checkpointheal.arena.folder import Folder
from checkpointheal.contract.base import Count, Frozen
from checkpointheal.errors import SlotDamaged

log = logging.getLogger("checkpointheal.agent")

FILE_LIMIT = 1 << 12
NAME, BESIDE = "agent.numbers.json", "agent.numbers.tmp"


class Numbers(Frozen):
    """Each only grows."""

    request: Count = 0
    attempt: Count = 0
    epoch_answered: Count = 0


class Remembered:
    """The numbers, on disk before they are used."""

    def __init__(self, directory: Path) -> None:
        self._folder = Folder(directory)
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
            self._write(grown.model_dump_json().encode())
            self.numbers = grown
        return grown

    def _write(self, content: bytes) -> None:
        """Raises OSError."""
        self._folder.put_aside(NAME)
        self._folder.put_aside(BESIDE)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(BESIDE, dir_fd=self._folder.fd)
        self._folder.put(NAME, content, BESIDE)

    def _read(self) -> Numbers:
        try:
            content = self._folder.read(NAME, FILE_LIMIT)
            return Numbers() if content is None else Numbers.model_validate_json(content)
        except (SlotDamaged, ValidationError) as error:
            why = "it holds no numbers" if isinstance(error, ValidationError) else error
            log.error("%s cannot be believed, what fences begins anew: %s", NAME, why)
        return Numbers()
