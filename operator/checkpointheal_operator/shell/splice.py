"""How does an agent that came to a follower reach the leader? Its connection goes on to it, byte by byte.

Every replica listens where agents come; only the leader's inner port has a gateway behind it, so a connection takes one
step and can never go in a circle. Who leads takes what comes here itself: a step more would cost the reading and
writing of every byte twice. Must not know what is said: it is encrypted.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

log = logging.getLogger("checkpointheal.gateway")

CONNECT_SECONDS = 3.0
AT_ONCE = 1 << 16
WAITING = 128
"""Connections that may wait to be taken."""


class Address(NamedTuple):
    """A host and a TCP port."""

    host: str
    port: int


class Entrance:
    """Where agents come. One socket for as long as it is open: who takes connections may change, and none is lost."""

    def __init__(self, listener: socket.socket, leader: Callable[[], Address | None]) -> None:
        self._listener, self._leader = listener, leader
        self._passing: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[socket.socket]:
        """Whoever leads listens on this socket; nothing is passed on meanwhile."""
        self.stop()
        try:
            with self._listener.dup() as listener:
                yield listener
        finally:
            await self.pass_on()

    async def pass_on(self) -> None:
        """Each connection goes to whoever leads when it comes."""
        self._passing = await asyncio.start_server(self._came, sock=self._listener.dup(), backlog=WAITING)

    def stop(self) -> None:
        """Take no more; what is passed on goes on."""
        if self._passing is not None:
            self._passing.close()

    async def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            if (where := self._leader()) is not None:
                await _pass_on((reader, writer), where)


@contextlib.asynccontextmanager
async def entrance(here: Address, leader: Callable[[], Address | None]) -> AsyncIterator[Entrance]:
    """Listen at `here` and pass each connection on until it is taken."""
    family = socket.AF_INET6 if ":" in here.host else socket.AF_INET
    with socket.create_server(here, family=family, backlog=WAITING) as listener:
        opened = Entrance(listener, leader)
        await opened.pass_on()
        try:
            yield opened
        finally:
            opened.stop()


async def _pass_on(near: tuple[asyncio.StreamReader, asyncio.StreamWriter], where: Address) -> None:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            far = await asyncio.open_connection(*where)
    except (OSError, TimeoutError) as error:
        log.debug("the leader at %s:%d does not answer: %s", *where, error)
        return
    with contextlib.closing(far[1]):
        ways = {asyncio.ensure_future(_pump(near[0], far[1])), asyncio.ensure_future(_pump(far[0], near[1]))}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until either side leaves: HTTP needs no connection that is half open."""
    with contextlib.suppress(OSError):
        while part := await reader.read(AT_ONCE):
            writer.write(part)
            await writer.drain()
