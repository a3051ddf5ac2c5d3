"""How is one job looked after, for as long as its policy stands?

Look when something happened, when something falls due, and once in a while; where the API fails, again after a pause
that grows. Nothing here decides.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from checkpointheal_operator.core.decisions import Nothing, Wait
from checkpointheal_operator.shell.cluster import ClusterError
from checkpointheal_operator.shell.look import Looked, Surroundings, look, pause
from checkpointheal_operator.shell.mirror import Place
from checkpointheal_operator.shell.objects import Listening

log = logging.getLogger("checkpointheal.operator")

LOOK_EVERY, AT_MOST_EVERY = 5.0, 0.05
SLOWEST = 30.0


class Ties(NamedTuple):
    """What a keeper is told, and whom it tells."""

    listening: Callable[[], Listening]
    looked: Callable[[Looked], Awaitable[None]]


class Keeper:
    """One policy's."""

    def __init__(self, around: Surroundings, place: Place, ties: Ties) -> None:
        self._around, self._place, self._ties = around, place, ties
        self._noticed = asyncio.Event()
        self._failures = 0
        self._waits_for = ""

    def notice(self) -> None:
        """Something happened: look again. What it was does not matter."""
        self._noticed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._noticed.clear()
            seconds, may_wait_less = await self._look()
            if may_wait_less:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._noticed.wait(), seconds)
                await asyncio.sleep(AT_MOST_EVERY)
            else:
                await asyncio.sleep(seconds)

    async def _look(self) -> tuple[float, bool]:
        """Seconds until the next look, and whether news may make them fewer."""
        try:
            looked = await look(self._around, *self._place, self._ties.listening())
        except ClusterError as error:
            self._failures += 1
            log.warning("%s/%s: %s: %s", *self._place, error.reason, error)
            return min(pause(error) * 2 ** min(self._failures - 1, 8), SLOWEST), False
        except ValueError as error:
            self._failures += 1
            log.warning("%s/%s cannot be read: %s", *self._place, error)
            return SLOWEST, True
        self._failures = 0
        self._tell(looked)
        await self._ties.looked(looked)
        if looked.until is None:
            return LOOK_EVERY, True
        return min(LOOK_EVERY, max(0.0, looked.until - self._around.clock())), True

    def _tell(self, looked: Looked) -> None:
        """What is waited for is worth a line when it changes, not at every look."""
        for decision in looked.decisions:
            quiet = isinstance(decision, Nothing | Wait)
            if not quiet or decision.message != self._waits_for:
                log.info("%s/%s: %s", *self._place, decision)
            self._waits_for = decision.message if quiet else ""
