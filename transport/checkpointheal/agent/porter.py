"""Who knocks at the agent's one port: another agent that has something to say, or a recipient that comes for a state?

TLS begins with a byte that no recipient begins with, so one look tells, without a byte being taken away. A recipient
shows the ticket that its donor gave it over TLS, for this attempt and once, and its connection goes to whoever expects
it. Guests are bounded in time and number, until they have said something. Must not know HTTP, certificates, heals or
torch.
"""

import asyncio
import contextlib
import secrets
import socket
import ssl
from collections.abc import Callable

from checkpointheal.agent.inside import Inside
from checkpointheal.contract.peer import PREAMBLE, TICKET_BYTES

TLS_BEGINS = b"\x16"
KNOCK_SECONDS = 5.0
"""An honest guest says its first word as soon as it is connected."""
HANDSHAKE_SECONDS = 10.0
WAITING_GUESTS = 128
"""Guests that have not said who they are. One more, and who has been silent for longest goes."""
BACKLOG = 128


class Arrival:
    """A guest that is expected, once."""

    def __init__(self, expected: "dict[bytes, Arrival]") -> None:
        self._expected, self._ticket = expected, secrets.token_bytes(TICKET_BYTES)
        self._come: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._guest: socket.socket | None = None
        expected[self._ticket] = self

    @property
    def ticket(self) -> str:
        """What the guest is to show."""
        return self._ticket.hex()

    async def guest(self) -> socket.socket:
        """The guest's connection, to be closed by who takes it."""
        await self._come
        guest, self._guest = self._guest, None
        if guest is None:
            raise ConnectionError("a guest is taken once")
        return guest

    def meet(self, guest: socket.socket) -> None:
        """It is here."""
        self._guest = guest
        self._come.set_result(None)

    def close(self) -> None:
        """Nobody is expected any more; who has come and was not taken is sent away."""
        self._expected.pop(self._ticket, None)
        self._come.cancel()
        if self._guest is not None:
            self._guest.close()


class Porter:
    """Lets guests in at one bound socket, which stays its owner's."""

    def __init__(
        self,
        bound: socket.socket,
        serve: Callable[[], asyncio.Protocol],
        pod_of: Callable[[asyncio.Transport], str | None],
    ) -> None:
        """`serve` makes the protocol for each agent that comes to speak; `pod_of` tells its pod, None of a stranger."""
        self._socket, self._serve, self._pod_of = bound, serve, pod_of
        self.inside = Inside()
        self._tls: ssl.SSLContext | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._waiting: dict[asyncio.Task[None], None] = {}
        self._expected: dict[bytes, Arrival] = {}

    def admit(self, tls: ssl.SSLContext) -> None:
        """From now on guests are met with this context."""
        self._tls = tls
        if self._accepting is None:
            self._socket.setblocking(False)
            self._socket.listen(BACKLOG)
            self._accepting = asyncio.create_task(self._accept())

    def expect(self) -> Arrival:
        """A recipient with a ticket of its own."""
        return Arrival(self._expected)

    async def close(self) -> None:
        """Let nobody in any more; who waits outside is sent away."""
        tasks = [*self._waiting, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for arrival in list(self._expected.values()):
            arrival.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                guest, _ = await loop.sock_accept(self._socket)
            except OSError:  # it left at once, or there are too many files open: the next one may come in
                await asyncio.sleep(0.05)
                continue
            task = asyncio.create_task(self._receive(guest))
            self._waiting[task] = None
            task.add_done_callback(lambda done: self._waiting.pop(done, None))
            if len(self._waiting) > WAITING_GUESTS:
                next(iter(self._waiting)).cancel()

    async def _receive(self, guest: socket.socket) -> None:
        try:
            async with asyncio.timeout(KNOCK_SECONDS):
                speaks = await _first_byte(guest) == TLS_BEGINS
                arrival = None if speaks else self._expected.pop(await _ticket(guest), None)
        except OSError:
            guest.close()
            return
        except asyncio.CancelledError:
            guest.close()
            raise
        if speaks:
            await self._let_in(guest)
        elif arrival is not None:
            arrival.meet(guest)
        else:
            guest.close()

    async def _let_in(self, guest: socket.socket) -> None:
        """Until it has said its first word: a stranger says none."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError), self.inside.silent(self._serve) as (protocol, spoke):
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, guest, ssl=self._tls, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
            try:
                async with asyncio.timeout(KNOCK_SECONDS):
                    pod_uid = self._pod_of(transport)
                    if pod_uid is None or not self.inside.has_room(pod_uid, transport):
                        transport.abort()
                    else:
                        await spoke.wait()
            except (TimeoutError, asyncio.CancelledError):
                transport.abort()
                raise


async def _first_byte(guest: socket.socket) -> bytes:
    """Looked at, and left where it is."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(guest, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(guest)
    return guest.recv(1, socket.MSG_PEEK)


async def _ticket(guest: socket.socket) -> bytes:
    """Empty where what comes is no preamble."""
    loop = asyncio.get_running_loop()
    shown = b""
    while len(shown) < len(PREAMBLE) + TICKET_BYTES:
        came = await loop.sock_recv(guest, len(PREAMBLE) + TICKET_BYTES - len(shown))
        shown += came
        if not came or not (shown.startswith(PREAMBLE) or PREAMBLE.startswith(shown)):
            return b""
    return shown.removeprefix(PREAMBLE)
