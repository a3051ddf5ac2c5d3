"""How does `watch` hear what happens, until it is interrupted?

Policies and heals are mirrored as the operator mirrors pods; each change is told once. A right that is missing ends
it, everything else is tried again. Must not know how it is shown.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.plugin.live import Screen
from checkpointheal_operator.plugin.news import first, news
from checkpointheal_operator.plugin.reading import Reader
from checkpointheal_operator.plugin.seen import Seen, seen
from checkpointheal_operator.plugin.trouble import Request, Trouble, trouble_of
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, HEALS, Forbidden, NotKnown
from checkpointheal_operator.shell.kube import Page, Selection
from checkpointheal_operator.shell.mirror import Mirror
from checkpointheal_operator.shell.watching import Watch


class Strict:
    """A source for `Watch` that gives up where asking again is no use."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def page(self, selection: Selection, more: str = "") -> Page:
        """The next part of a list."""
        try:
            return await self._reader.kube.page(selection, more)
        except (Forbidden, NotKnown) as error:
            raise self._trouble(error, "list", selection) from error

    async def events(self, selection: Selection, version: str) -> AsyncGenerator[Json, None]:
        """What changed since."""
        try:
            async with contextlib.aclosing(self._reader.kube.events(selection, version)) as events:
                async for each in events:
                    yield each
        except (Forbidden, NotKnown) as error:
            raise self._trouble(error, "watch", selection) from error

    def _trouble(self, error: Forbidden | NotKnown, verb: str, selection: Selection) -> Trouble:
        return trouble_of(error, Request(verb, selection.kind, selection.namespace), self._reader.where)


async def follow(reader: Reader, namespace: str, screen: Screen, clock: Callable[[], float]) -> None:
    """Until cancelled. Raises Trouble. `clock` tells seconds since 1970."""
    changed = asyncio.Event()
    mirrors = [Mirror(lambda _before, _now: changed.set()) for _ in range(2)]
    source = Strict(reader)
    watches = [
        Watch(source, Selection(kind, namespace=namespace), mirror, time.monotonic)
        for kind, mirror in zip((CHECKPOINTHEALS, HEALS), mirrors, strict=True)
    ]
    for watch, kind in zip(watches, (CHECKPOINTHEALS, HEALS), strict=True):
        await reader.answered(watch.relist(), Request("list", kind, namespace))
    with screen:
        try:
            async with asyncio.TaskGroup() as tasks:
                for watch in watches:
                    tasks.create_task(watch.run())
                tasks.create_task(_tell(changed, mirrors, screen, clock))
        except* Trouble as group:
            raise _first(group) from None


async def _tell(changed: asyncio.Event, mirrors: list[Mirror], screen: Screen, clock: Callable[[], float]) -> None:
    before: Seen | None = None
    while True:
        changed.clear()
        after, now = seen(mirrors[0], mirrors[1], ()), clock()
        screen.show(after, list(first(after, now) if before is None else news(before, after, now)))
        before = after
        await changed.wait()


def _first(group: BaseExceptionGroup[Trouble]) -> Trouble:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
