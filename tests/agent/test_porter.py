"""One port for everybody: who speaks TLS is let in, who shows a ticket is handed on, and nobody else costs anything."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

import builders_agent as agents
import builders_trust as build
from checkpointheal.agent import porter as room
from checkpointheal.agent.peer_trust import ByCertificate
from checkpointheal.agent.porter import Arrival
from checkpointheal.contract.peer import PREAMBLE, Ask, Meet, No, preamble
from checkpointheal_operator.gateway.authority import Authority

AUTHORITY = Authority.begin((), build.NOW)


@dataclass
class Stranger:
    """Somebody at the door, with a plain connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def says(self, words: bytes) -> None:
        self.writer.write(words)
        await self.writer.drain()

    async def is_sent_away(self) -> bool:
        return await build.is_sent_away(self.reader)


@contextlib.asynccontextmanager
async def a_stranger(inside: build.Inside) -> AsyncIterator[Stranger]:
    reader, writer = await asyncio.open_connection(inside.peer.endpoint.host, inside.peer.endpoint.port)
    yield Stranger(reader, writer)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def meet(ask: Ask) -> Meet | No:
    return Meet(store_port=4711, prefix="heal-1/1", total=0)


def at_the_door(visit: Callable[[build.Inside], Awaitable[None]]) -> None:
    async def story() -> None:
        async with build.an_agent(0, build.credentials(AUTHORITY, build.a_holder(0))) as inside:
            inside.door.answer_ask = meet
            await visit(inside)
            async with build.a_guest(build.credentials(AUTHORITY, build.a_holder(2))) as guest:
                ask = Ask(heal="heal-1", attempt=1, recipient_uid="uid-2", **dict(agents.STATE))
                assert await guest.ask(inside.peer, ask), "whatever happened, agents are still let in"
            assert inside.door._porter._expected == {}

    asyncio.run(story())


async def comes(arrival: Arrival, said: bytes) -> None:
    """The very connection is handed on, and nothing that followed the ticket is lost."""
    with await arrival.guest() as guest:
        guest.settimeout(20)
        assert await asyncio.to_thread(guest.recv, len(said), socket.MSG_WAITALL) == said
        guest.sendall(b"welcome")


def test_who_shows_a_ticket_is_handed_to_who_expects_it() -> None:
    async def visit(inside: build.Inside) -> None:
        first, second = inside.door.expect(), inside.door.expect()
        async with a_stranger(inside) as one, a_stranger(inside) as other:
            await other.says(preamble(second.ticket) + b"hello, second")
            await one.says(preamble(first.ticket) + b"hello, first")
            await comes(first, b"hello, first")
            await comes(second, b"hello, second")
            assert await one.reader.read() == await other.reader.read() == b"welcome"

    at_the_door(visit)


def test_a_ticket_may_come_in_pieces() -> None:
    async def visit(inside: build.Inside) -> None:
        arrival = inside.door.expect()
        async with a_stranger(inside) as guest:
            for byte in preamble(arrival.ticket):
                await guest.says(bytes([byte]))
                await asyncio.sleep(0)
            await guest.says(b"x")
            await comes(arrival, b"x")

    at_the_door(visit)


NOBODY = {
    "an unknown ticket": preamble("00" * 16),
    "a magic of another kind": b"CKHW" + b"\0" * 16,
    "HTTP in clear": b"GET /v1/ask HTTP/1.1\r\nHost: x\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "nothing but zeros": b"\0" * 64,
    "something like TLS": b"\x16\x03\x01" + b"\xff" * 64,
}


@pytest.mark.parametrize("words", NOBODY.values(), ids=NOBODY)
def test_who_says_anything_else_is_sent_away(words: bytes) -> None:
    async def visit(inside: build.Inside) -> None:
        async with a_stranger(inside) as guest:
            await guest.says(words)
            if not words.startswith(room.TLS_BEGINS):
                assert await guest.is_sent_away()
                return
            said = await guest.reader.read()
            assert said[:1] in (b"", b"\x15"), "an alert of TLS at most"

    at_the_door(visit)


def test_a_ticket_is_good_once() -> None:
    async def visit(inside: build.Inside) -> None:
        arrival = inside.door.expect()
        async with a_stranger(inside) as first, a_stranger(inside) as replayed:
            await first.says(preamble(arrival.ticket) + b"x")
            await comes(arrival, b"x")
            await replayed.says(preamble(arrival.ticket) + b"x")
            assert await replayed.is_sent_away()

    at_the_door(visit)


def test_a_ticket_is_worth_nothing_once_its_transfer_is_over() -> None:
    async def visit(inside: build.Inside) -> None:
        arrival = inside.door.expect()
        arrival.close()
        async with a_stranger(inside) as guest:
            await guest.says(preamble(arrival.ticket))
            assert await guest.is_sent_away()

    at_the_door(visit)


def test_who_came_for_a_transfer_that_is_called_off_is_sent_away() -> None:
    async def visit(inside: build.Inside) -> None:
        arrival = inside.door.expect()
        async with a_stranger(inside) as guest:
            await guest.says(preamble(arrival.ticket))
            await agents.until(lambda: not inside.door._porter._expected)
            await asyncio.sleep(0)
            arrival.close()
            assert await guest.is_sent_away()

    at_the_door(visit)


@pytest.mark.parametrize("words", [b"", b"C", PREAMBLE, PREAMBLE + b"\0" * 15, b"\x16"], ids=repr)
def test_a_slow_guest_is_sent_away_in_time(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "KNOCK_SECONDS", 0.2)
    monkeypatch.setattr(room, "HANDSHAKE_SECONDS", 0.2)

    async def visit(inside: build.Inside) -> None:
        async with a_stranger(inside) as guest:
            await guest.says(words)
            assert await guest.is_sent_away()
        assert not inside.door._porter._waiting

    at_the_door(visit)


def test_of_too_many_silent_guests_the_one_that_came_first_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "WAITING_GUESTS", 3)

    async def visit(inside: build.Inside) -> None:
        async with contextlib.AsyncExitStack() as stack:
            guests = [await stack.enter_async_context(a_stranger(inside)) for _ in range(10)]
            for guest in guests[:7]:
                assert await guest.is_sent_away()
            assert len(inside.door._porter._waiting) == 3

    at_the_door(visit)


def test_a_guest_that_resets_its_connection_leaves_nothing_behind() -> None:
    async def visit(inside: build.Inside) -> None:
        for words in (b"", PREAMBLE, b"\x16\x03"):
            with socket.create_connection((inside.peer.endpoint.host, inside.peer.endpoint.port)) as guest:
                guest.sendall(words)
                guest.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        async with a_stranger(inside) as last:
            await last.says(b"?")
            assert await last.is_sent_away()
        await agents.until(lambda: not inside.door._porter._waiting)

    at_the_door(visit)


def test_a_door_that_closes_sends_away_who_waits_and_who_is_expected() -> None:
    async def story() -> None:
        async with build.an_agent(0, build.credentials(AUTHORITY, build.a_holder(0))) as inside:
            arrival = inside.door.expect()
            async with a_stranger(inside) as guest:
                await guest.says(PREAMBLE)
                await agents.until(lambda: inside.door._porter._waiting)
                await inside.door.close()
                assert await guest.is_sent_away()
            with pytest.raises(asyncio.CancelledError):
                await arrival.guest()

    asyncio.run(story())


def test_nobody_is_expected_at_a_door_that_is_not_open() -> None:
    from checkpointheal.agent.keep import Keep
    from checkpointheal.agent.peer_door import PeerDoor

    with pytest.raises(RuntimeError):
        PeerDoor(ByCertificate(), Keep(), 1).expect()


@pytest.mark.parametrize("ticket", ["", "00", "00" * 17, "xy" * 16])
def test_what_is_no_ticket_is_not_shown(ticket: str) -> None:
    with pytest.raises(ValueError, match=r"ticket|hexadecimal"):
        preamble(ticket)
