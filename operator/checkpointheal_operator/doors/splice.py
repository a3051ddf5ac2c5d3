"""Where does an agent's connection go? To the gateway where this replica leads, else on to the leader, byte by byte.

Every replica listens where agents come; only the leader's inner port has a gateway behind it, so a connection takes one
step and can never go in a circle. Who leads takes what comes here itself: a step more would cost the reading and
writing of every byte twice. Who is not known yet is a guest, and goes when there are too many. Must not know what is
said: it is encrypted.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from checkpointheal_operator.doors.guests import Guests

log = logging.getLogger("checkpointheal.gateway")

CONNECT_SECONDS = 3.0
AT_ONCE = 1 << 16
WAITING = 128
"""Connections that may wait to be accepted."""
AGAIN_AFTER = 1.0
"""Seconds, where no more connections can be accepted now."""


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Address(NamedTuple):
    """A host and a TCP port."""

    host: str
    port: int


class Gateway(NamedTuple):
    """What serves a connection, over TLS where there is a context."""

    protocol: Callable[[], asyncio.BaseProtocol]
    tls: ssl.SSLContext | None


class Entrance:
    """Where agents come. `leader` tells who else leads, if anybody does."""

    def __init__(self, listener: socket.socket, leader: Callable[[], Address | None], guests: Guests) -> None:
        self._listener, self._leader, self._guests = listener, leader, guests
        self._gateway: Gateway | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    @contextlib.contextmanager
    def leads_to(self, gateway: Gateway) -> Iterator[None]:
        """Whoever comes meanwhile is served here, and nobody is passed on."""
        self._gateway = gateway
        try:
            yield
        finally:
            self._gateway = None

    async def run(self) -> None:
        """Until cancelled, and with it all that is passed on."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    came, _ = await asyncio.get_running_loop().sock_accept(self._listener)
                except OSError as error:
                    log.warning("no connection can be accepted now: %s", error)
                    await asyncio.sleep(AGAIN_AFTER)
                else:
                    await self._room_for(came)
                    tasks.create_task(self._admit(came))

    async def _room_for(self, came: socket.socket) -> None:
        try:
            await self._guests.room()
        except asyncio.CancelledError:
            came.close()
            raise

    async def _admit(self, came: socket.socket) -> None:
        """What fails at a connection is its end, and nobody else's."""
        try:
            if (gateway := self._gateway) is not None:
                await self._serve(came, gateway)
            elif (where := self._leader()) is not None:
                await self._pass_on(came, where)
            else:
                came.close()
        except OSError as error:
            came.close()
            log.debug("a connection ended before it began: %s", error)

    async def _serve(self, came: socket.socket, gateway: Gateway) -> None:
        """Until it is known."""
        loop = asyncio.get_running_loop()
        async with self._guests.greeting() as guest:
            speaking = partial(self._guests.speaking, guest, gateway.protocol)
            transport, _ = await loop.connect_accepted_socket(speaking, came, ssl=gateway.tls)
            try:
                if self._gateway is gateway:
                    await guest.known.wait()
                else:  # it ended during the handshake: a hub that nobody feeds must answer nobody
                    transport.abort()
            except asyncio.CancelledError:
                transport.abort()
                raise

    async def _pass_on(self, came: socket.socket, where: Address) -> None:
        """A guest until the leader takes it for its own."""
        near = await asyncio.open_connection(sock=came)
        with contextlib.closing(near[1]):
            try:
                async with self._guests.greeting(), asyncio.timeout(CONNECT_SECONDS):
                    far = await asyncio.open_connection(*where)
            except (OSError, TimeoutError) as error:
                log.debug("the leader at %s:%d does not answer: %s", *where, error)
                return
            await _join(near, far)


@contextlib.contextmanager
def entrance(here: Address, leader: Callable[[], Address | None], guests: Guests) -> Iterator[Entrance]:
    """Listen at `here`. `guests` may be those of another entrance too."""
    family = socket.AF_INET6 if ":" in here.host else socket.AF_INET
    with socket.create_server(here, family=family, backlog=WAITING) as listener:
        listener.setblocking(False)
        yield Entrance(listener, leader, guests)


async def _join(near: Stream, far: Stream) -> None:
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
