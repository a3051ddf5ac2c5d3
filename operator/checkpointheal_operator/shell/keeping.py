"""How is one job looked after, for as long as its policy stands?

Look when something happened, when something falls due, and once in a while; where the API fails, again after a pause
that grows. Nothing here decides.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from checkpointheal.contract.log_lines import Facts, about
from checkpointheal_operator.api.told import awaited
from checkpointheal_operator.core.decisions import Decision, Nothing, Wait
from checkpointheal_operator.core.standstill import stands_still
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.measures.operating import OK
from checkpointheal_operator.shell.cluster import ClusterError
from checkpointheal_operator.shell.gather import Reader
from checkpointheal_operator.shell.look import Looked, Surroundings, look, pause
from checkpointheal_operator.shell.mirror import Key
from checkpointheal_operator.shell.objects import Listening
from checkpointheal_operator.shell.story import lines

log = logging.getLogger("checkpointheal.operator")

LOOK_EVERY, AT_MOST_EVERY = 5.0, 0.05
RESTS_AT_MOST = 1.0
"""Seconds. It rests as long as it looked: where many jobs look at once, the news of several reports is one look's."""
SLOWEST = 10.0
"""Seconds. A job that waits for a heal waits no longer than that once the API is well again."""
UNREADABLE = "Unreadable"
"""How a look ends at objects that are none of ours."""


class Ties(NamedTuple):
    """What a keeper is told, and whom it tells."""

    listening: Callable[[], Listening]
    looked: Callable[[Looked], None]


class Keeper:
    """One policy's."""

    def __init__(self, around: Surroundings, key: Key, ties: Ties) -> None:
        self._around = replace(around, wrote=self._wrote, reader=Reader(), owed={})
        self._key, self._ties = key, ties
        self._noticed = asyncio.Event()
        self._failures, self._took, self._tells_after = 0, 0.0, 0.0
        self._waits_for: tuple[str, str] | None = None
        self._beat = self._seen_at = time.monotonic()
        self.open_heals, self.stands_still = 0, False

    @property
    def age(self) -> float:
        """Seconds since it last went on: of one that is stuck, it grows for ever."""
        return time.monotonic() - self._beat

    @property
    def view_age(self) -> float:
        """Seconds since a look succeeded."""
        return time.monotonic() - self._seen_at

    def notice(self) -> None:
        """Something happened: look again. What it was does not matter."""
        self._around.metrics.wakeups.inc()
        self._noticed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._noticed.clear()
            self._beat = time.monotonic()
            seconds, may_wait_less = await self._look()
            if may_wait_less:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self._noticed.wait()
                await asyncio.sleep(min(max(AT_MOST_EVERY, self._took), RESTS_AT_MOST))
            else:
                await asyncio.sleep(seconds)

    async def _look(self) -> tuple[float, bool]:
        """Seconds until the next look, and whether news may make them fewer."""
        began, result = time.monotonic(), OK
        try:
            tells = began >= self._tells_after
            looked = await look(self._around, self._key, self._ties.listening(), tells=tells)
            result = looked.untold.reason if looked.untold is not None else OK
        except ClusterError as error:
            result = error.reason
            return self._pause(error), False
        except ValueError as error:
            result = UNREADABLE
            self._failures += 1
            self._warn(f"its objects cannot be read: {error}", result)
            return SLOWEST, True
        finally:
            self._took = time.monotonic() - began
            self._around.metrics.looked(result, self._took)
        self._take(looked)
        if looked.untold is not None:  # news are looked at meanwhile, and tried to be told no sooner for that
            seconds = self._pause(looked.untold)
            self._tells_after = time.monotonic() + seconds
            return min(seconds, self._rest(looked)), True
        self._failures = 0 if tells else self._failures
        return self._rest(looked), True

    def _rest(self, looked: Looked) -> float:
        if looked.until is None:
            return LOOK_EVERY
        return min(LOOK_EVERY, max(0.0, looked.until - self._around.clock()))

    def _take(self, looked: Looked) -> None:
        self._seen_at = time.monotonic()
        self.open_heals = sum(heal.is_open for heal in looked.view.heals)
        self.stands_still = stands_still(looked.view, self._around.clock(), looked.decisions[-1])
        self._tell(looked)
        self._ties.looked(looked)

    def _pause(self, error: ClusterError) -> float:
        """Said, and the longer the more often in a row."""
        self._failures += 1
        self._warn(f"{error.reason}: {error}", error.reason)
        return min(pause(error) * 2.0 ** min(self._failures - 1, 8), SLOWEST)

    def _wrote(self, decision: Decision, view: JobView) -> None:
        """Told as soon as it stands: what comes after it in the same look may fail."""
        self._beat = time.monotonic()
        self._waits_for = None
        self._around.metrics.wrote(decision, view)
        self._say(decision, view)

    def _tell(self, looked: Looked) -> None:
        """What is waited for is worth a line when it changes, not at every look, nor for an age in it."""
        last = looked.decisions[-1]
        if isinstance(last, Nothing | Wait) and awaited(last) != self._waits_for:
            self._waits_for = awaited(last)
            self._say(last, looked.view)

    def _say(self, decision: Decision, view: JobView) -> None:
        for line in lines(decision, view):
            namespace, policy = self._key
            facts = Facts(namespace=namespace, policy=policy) | line.about
            log.log(line.level, "%s", line.message, extra=about(**facts))

    def _warn(self, message: str, reason: str) -> None:
        namespace, policy = self._key
        log.warning("%s", message, extra=about(namespace=namespace, policy=policy, reason=reason))
