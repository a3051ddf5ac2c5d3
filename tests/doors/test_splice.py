"""Where agents come: passed on while somebody else leads, served while this replica does, and never lost in between."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from checkpointheal_operator.doors import splice
from checkpointheal_operator.doors.guests import Guests
from checkpointheal_operator.doors.splice import Address, Entrance, Gateway, entrance

HERE = Address("127.0.0.1", 0)


class Saying(asyncio.Protocol):
    """A server's end of a connection: it says its word and leaves."""

    def __init__(self, word: bytes) -> None:
        self._word = word

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._word)
        transport.close()


async def answer_of(port: int, host: str = "127.0.0.1") -> bytes:
    """What one who comes there is told until the connection ends."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        return await asyncio.wait_for(reader.read(), 30)
    except ConnectionError:
        return b""
    finally:
        writer.close()


@asynccontextmanager
async def leading() -> AsyncIterator[Address]:
    """Another replica's gateway."""
    server = await asyncio.get_running_loop().create_server(lambda: Saying(b"leader"), "127.0.0.1", 0)
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()


@asynccontextmanager
async def opened(leader: Callable[[], Address | None], here: Address = HERE) -> AsyncIterator[Entrance]:
    with entrance(here, leader, Guests()) as found:
        running = asyncio.create_task(found.run())
        try:
            yield found
        finally:
            running.cancel()
            await asyncio.wait({running})
            assert running.cancelled()


def here(word: bytes = b"here") -> Gateway:
    return Gateway(lambda: Saying(word), None)


def test_who_comes_is_passed_on_to_the_leader():
    async def play() -> bytes:
        async with leading() as leader, opened(lambda: leader) as found:
            return await answer_of(found.port)

    assert asyncio.run(play()) == b"leader"


def test_who_comes_while_nobody_leads_is_sent_away():
    async def play() -> bytes:
        async with opened(lambda: None) as found:
            return await answer_of(found.port)

    assert asyncio.run(play()) == b""


def test_who_is_passed_on_to_a_leader_that_does_not_answer_is_sent_away():
    with socket.create_server(HERE) as nobody:
        gone = Address(*nobody.getsockname())

    async def play() -> bytes:
        async with opened(lambda: gone) as found:
            return await answer_of(found.port)

    assert asyncio.run(play()) == b""


def test_where_this_replica_leads_it_serves_who_comes_and_passes_nobody_on_until_it_leads_no_more():
    async def play() -> list[bytes]:
        told = []
        async with leading() as leader, opened(lambda: leader) as found:
            for _ in range(2):
                with found.leads_to(here()):
                    told += await asyncio.gather(*(answer_of(found.port) for _ in range(8)))
                told.append(await answer_of(found.port))
        return told

    assert asyncio.run(play()) == ([b"here"] * 8 + [b"leader"]) * 2


def test_a_gateway_that_fails_leads_to_nothing_any_more():
    async def play() -> bytes:
        async with leading() as leader, opened(lambda: leader) as found:
            with pytest.raises(OSError, match="cannot go on"), found.leads_to(here()):
                raise OSError("it cannot go on")
            return await answer_of(found.port)

    assert asyncio.run(play()) == b"leader"


def test_a_gateway_that_ends_during_a_handshake_serves_nobody():
    served: list[asyncio.BaseTransport] = []

    class Late(asyncio.Protocol):
        def __init__(self, found: Entrance) -> None:
            found._gateway = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            served.append(transport)

    async def play() -> bytes:
        async with opened(lambda: None) as found:
            with found.leads_to(Gateway(lambda: Late(found), None)):
                return await answer_of(found.port)

    assert asyncio.run(play()) == b""
    assert [each.is_closing() for each in served] == [True]


def test_a_connection_that_fails_ends_nobody_elses():
    def broken() -> asyncio.BaseProtocol:
        raise OSError("no room")

    async def play() -> list[bytes]:
        async with opened(lambda: None) as found:
            with found.leads_to(Gateway(broken, None)):
                first = await answer_of(found.port)
            with found.leads_to(here()):
                return [first, await answer_of(found.port)]

    assert asyncio.run(play()) == [b"", b"here"]


def test_where_no_connection_can_be_accepted_it_is_tried_again(monkeypatch, caplog):
    monkeypatch.setattr(splice, "AGAIN_AFTER", 0.01)

    async def play() -> bytes:
        loop = asyncio.get_running_loop()
        accept, failures = loop.sock_accept, iter([OSError(24, "too many open files")])

        async def sock_accept(listener: socket.socket) -> tuple[socket.socket, object]:
            if (error := next(failures, None)) is not None:
                raise error
            return await accept(listener)

        monkeypatch.setattr(loop, "sock_accept", sock_accept)
        async with opened(lambda: None) as found:
            with found.leads_to(here()):
                return await answer_of(found.port)

    assert asyncio.run(play()) == b"here"
    assert "too many open files" in caplog.text


def test_an_entrance_of_the_other_family_is_passed_on_too():
    async def play() -> bytes:
        async with leading() as leader, opened(lambda: leader, Address("::1", 0)) as found:
            return await answer_of(found.port, "::1")

    assert asyncio.run(play()) == b"leader"
