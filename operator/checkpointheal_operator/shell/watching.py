"""How does a mirror come to hold what the API server has, and stay so?

A list in chunks, then the stream of changes since, resumed where it broke off; where the server has forgotten that
point, the list again, which takes the place of all that was held. Any fault is followed by another try, more slowly
each time. Must not know what is mirrored.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.shell.cluster import ClusterError, Expired, TooManyRequests
from checkpointheal_operator.shell.kube import Page, Selection
from checkpointheal_operator.shell.mirror import Mirror

log = logging.getLogger("checkpointheal.operator")

SOON, SLOWEST = 0.1, 4.0
"""Seconds until another try. A server that is back after a long absence is seen as it is within five."""


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
                wanted = self._pause
            except Expired as error:
                self._version, wanted = None, SOON  # it is an answer, whatever went before
                log.info("%s are listed anew: %s", self._selection.kind.plural, error)
            except ClusterError as error:
                wanted = max(self._pause, error.after if isinstance(error, TooManyRequests) else 0)
                log.warning("watching %s: %s: %s", self._selection.kind.plural, error.reason, error)
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
        async with contextlib.aclosing(self._source.events(self._selection, version)) as events:
            async for event in events:
                self.take(event["type"], event["object"])

    def _heard(self) -> None:
        self._heard_at, self._pause = self._clock(), SOON
