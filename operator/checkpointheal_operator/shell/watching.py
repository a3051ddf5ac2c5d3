"""How does a mirror come to hold what the API server has, and stay so?

A list in chunks, then the stream of changes since, resumed where it broke off; where the server has forgotten that
point, the list again, which takes the place of all that was held. So it does where the stream was silent for long, as
that of a quiet kind may be, and now and then where none is to be had. Any fault is followed by another try, more slowly
each time. Must not know what is mirrored.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.shell.cluster import ClusterError, Expired, Silent, TooManyRequests
from checkpointheal_operator.shell.kube import Page, Selection
from checkpointheal_operator.shell.mirror import Mirror

log = logging.getLogger("checkpointheal.operator")

SOON, SLOWEST = 0.1, 4.0
"""Seconds until another try. A server that is back after a long absence is seen as it is within five."""
LISTED_AFTER = 30.0
"""Seconds for which nothing was heard, after which a list is asked for where streams end or are refused."""


class Source(Protocol):
    """Lists and streams. Every method raises ClusterError."""

    async def page(self, selection: Selection, more: str = "") -> Page:
        """The next part of a list."""

    def events(self, selection: Selection, version: str) -> AsyncGenerator[Json, None]:
        """What changed since."""


class Watch:
    """Keeps one mirror. `clock` tells seconds that only grow."""

    def __init__(self, source: Source, selection: Selection, mirror: Mirror, clock: Callable[[], float]) -> None:
        self._source, self._selection, self._mirror, self._clock = source, selection, mirror, clock
        self._version: str | None = None
        self._pause = SOON
        self._heard_at = clock()
        self.synced = asyncio.Event()

    @property
    def age(self) -> float:
        """Seconds since the server last said anything: the mirror may be that far behind."""
        return self._clock() - self._heard_at

    async def relist(self) -> None:
        """Take the place of all that is held. Raises ClusterError."""
        items, version = await self._list()
        self._mirror.replace(items, version)
        self._version = version
        self._heard()
        self.synced.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                if self._version is None:
                    await self.relist()
                await self._follow(self._version or "")
                if self.age >= LISTED_AFTER:
                    await self.relist()
                wanted = self._pause
            except (Expired, Silent) as error:
                self._version, wanted = None, SOON  # only a list tells, whatever went before
                log.info("%s are listed anew: %s", self._selection.kind.plural, error)
            except ClusterError as error:
                wanted = max(self._pause, error.after if isinstance(error, TooManyRequests) else 0)
                self._warn(error)
            self._pause = min(self._pause * 2, SLOWEST)
            await asyncio.sleep(wanted)

    def take(self, what: str | None, found: Json) -> None:
        """What a stream said; without a type, that it is there."""
        version = found["metadata"]["resourceVersion"]
        if what == "BOOKMARK":
            self._mirror.passed(version)
        elif what == "DELETED":
            self._mirror.drop(found["metadata"]["uid"], version)
        else:
            self._mirror.put(found)
        self._version = version
        self._heard()

    async def _list(self) -> tuple[list[Json], str]:
        items: list[Json] = []
        more = ""
        while True:
            page = await self._source.page(self._selection, more)
            items += map(self._mirror.kept, page.items)
            if not (more := page.more):
                return items, page.version
            del page  # or two of them are held while the next one is read, and memory once taken is not given back

    async def _follow(self, version: str) -> None:
        """Until the stream ends, breaks or is refused. Raises what says more than that: what to do next."""
        try:
            async with contextlib.aclosing(self._source.events(self._selection, version)) as events:
                async for event in events:
                    self.take(event["type"], event["object"])
        except (Expired, Silent, TooManyRequests):
            raise
        except ClusterError as error:
            self._warn(error)

    def _warn(self, error: ClusterError) -> None:
        log.warning("watching %s: %s: %s", self._selection.kind.plural, error.reason, error)

    def _heard(self) -> None:
        self._heard_at, self._pause = self._clock(), SOON
