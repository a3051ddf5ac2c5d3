"""Who has come and not said yet what makes it welcome, and which of them has to go?

Anybody may come, so guests are bounded in time and number. Who has shown a good token is a guest no longer, and what
others do is nothing to it; of one name only so many stay. Must not know TLS, HTTP or tokens.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from checkpointheal_operator.doors.regulars import Regulars, Speaker

log = logging.getLogger("checkpointheal.gateway")

GREETING_SECONDS = 10.0
"""An honest guest shows its token as soon as it is connected; the rest is for a busy operator and its API server."""
MOST = 1024
"""Guests at once, of some 60 KiB each. Where one more comes, who has been one for longest goes."""
UNDISTURBED_SECONDS = 4.0
"""Nobody goes sooner for another one's sake: when all agents come at once, to a new leader, the others wait outside."""
OF_ONE = 6
"""Connections of one agent: it reports, waits for orders and asks for a certificate, and what it left may linger."""
TOLD_EVERY = 60.0


class Bounds(NamedTuple):
    """Of guests, and of those who are welcome."""

    greeting: float
    """Seconds in which a guest has to say what makes it welcome."""
    most: int
    """Guests at once."""
    undisturbed: float
    """Seconds for which none goes for another one's sake."""
    of_one: int
    """Connections that stay, of one name and seat."""


@dataclass(eq=False)
class Guest:
    """One who is served by `task`, until it is `known`."""

    task: "asyncio.Task[None]"
    since: float
    known: asyncio.Event = field(default_factory=asyncio.Event)
    protocol: asyncio.BaseProtocol | None = None


class Guests:
    """Of one server, at whichever of its ports."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        """Without `bounds`, of a gateway."""
        self._bounds = bounds or Bounds(GREETING_SECONDS, MOST, UNDISTURBED_SECONDS, OF_ONE)
        self._regulars = Regulars()
        self._here: dict[Guest, None] = {}
        self._speaking: dict[asyncio.BaseProtocol | None, Guest] = {}
        self._fewer = asyncio.Event()
        self._told = float("-inf")

    async def room(self) -> None:
        """Until one more may come in, and whoever came before is counted."""
        await asyncio.sleep(0)  # a listener that has somebody waiting lets nobody else run
        while len(self._here) >= self._bounds.most:
            self._tell()
            first = next(iter(self._here))
            left = first.since + self._bounds.undisturbed - time.monotonic()
            if left <= 0:
                self._forget(first)
                first.task.cancel()
                return
            self._fewer.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._fewer.wait()

    @contextlib.asynccontextmanager
    async def greeting(self) -> AsyncIterator[Guest]:
        """For as long as the one that this task serves is a guest. Raises TimeoutError where that is too long."""
        guest = Guest(cast("asyncio.Task[None]", asyncio.current_task()), time.monotonic())
        self._here[guest] = None
        try:
            async with asyncio.timeout(self._bounds.greeting):
                yield guest
        finally:
            self._forget(guest)

    def speaking(self, guest: Guest, protocol: Callable[[], asyncio.BaseProtocol]) -> asyncio.BaseProtocol:
        """A protocol by which this guest can become known."""
        guest.protocol = protocol()
        self._speaking[guest.protocol] = guest
        return guest.protocol

    def known(self, protocol: Speaker, name: str = "", seats: int = 1) -> None:
        """Who speaks by it is welcome, for the first time or again, under a name of so many seats."""
        self._regulars.spoke(name, protocol, self._bounds.of_one * seats)
        guest = self._speaking.get(cast("asyncio.BaseProtocol", protocol))
        if guest is not None:
            self._forget(guest)
            guest.known.set()

    def _forget(self, guest: Guest) -> None:
        self._here.pop(guest, None)
        self._speaking.pop(guest.protocol, None)
        self._fewer.set()

    def _tell(self) -> None:
        if time.monotonic() >= self._told + TOLD_EVERY:
            self._told = time.monotonic()
            log.warning("%d connections have said nothing that counts: who came first goes", len(self._here))
