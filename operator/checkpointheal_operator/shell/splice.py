"""How does an agent that came to a follower reach the leader? Its connection goes on to it, byte by byte.

Every replica listens where agents come; only the leader's inner port has a gateway behind it, so a connection takes one
step and can never go in a circle. Must not know what is said: it is encrypted.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

log = logging.getLogger("checkpointheal.gateway")

CONNECT_SECONDS = 3.0
AT_ONCE = 1 << 16


class Address(NamedTuple):
    """A host and a TCP port."""

    host: str
    port: int


@contextlib.asynccontextmanager
async def splicing(here: Address, leader: Callable[[], Address | None]) -> AsyncIterator[int]:
    """Listen at `here` and pass each connection on to whoever leads when it comes; the port listened on."""

    async def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            if (where := leader()) is not None:
                await _pass_on((reader, writer), where)

    server = await asyncio.start_server(came, *here)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


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
