"""When is what could not be done tried again?

A full disk, a process without a descriptor to spare: such a moment passes, and nobody says when. What failed is a flaw
until a look finds all done. Must not know what is tried.
"""

import asyncio
import logging
from collections.abc import Callable

from checkpointheal.agent.flaws import Flaws, flaw_of
from checkpointheal.errors import CheckpointHealError

log = logging.getLogger("checkpointheal.agent")

PAUSE = 1.0
"""Seconds until the next look: a job waits for it, and what fails may have brought megabytes before it did."""
WHERE = "duties"


class Again:
    """One more look, after a pause, however much has failed meanwhile."""

    def __init__(self, look: Callable[[], None], flaws: Flaws) -> None:
        self._look, self._flaws = look, flaws
        self._next: asyncio.TimerHandle | None = None

    def failed(self, error: CheckpointHealError | OSError) -> None:
        """What was due could not be done."""
        flaw = flaw_of(error)
        if flaw not in self._flaws.standing():
            log.error("what is due cannot be done now: %s", error)
        self._flaws.found(WHERE, flaw)
        if self._next is None:
            self._next = asyncio.get_running_loop().call_later(PAUSE, self._now)

    def done(self) -> None:
        """Nothing failed in this look."""
        self._flaws.over(WHERE)

    def close(self) -> None:
        """Look no more."""
        if self._next is not None:
            self._next.cancel()

    def _now(self) -> None:
        self._next = None
        self._look()
