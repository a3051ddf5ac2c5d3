"""Where agents come: passed on while somebody else leads, taken while this replica does, and never lost in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from checkpointheal_operator.shell.splice import Address, entrance

HERE = Address("127.0.0.1", 0)


async def answer_of(port: int) -> bytes:
    """What one who comes there is told until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


@asynccontextmanager
async def saying(word: bytes, **where: object) -> AsyncIterator[Address]:
    """A server that says its word to everybody."""

    async def came(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(word)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(came, **(where or {"host": "127.0.0.1", "port": 0}))
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()


def test_who_comes_is_passed_on_to_the_leader() -> None:
    async def play() -> bytes:
        async with saying(b"leader") as leader, entrance(HERE, lambda: leader) as opened:
            return await answer_of(opened.port)

    assert asyncio.run(play()) == b"leader"


def test_who_comes_while_nobody_leads_is_sent_away() -> None:
    async def play() -> bytes:
        async with entrance(HERE, lambda: None) as opened:
            return await answer_of(opened.port)

    assert asyncio.run(play()) == b""


def test_whoever_takes_the_entrance_hears_all_who_come_and_nobody_is_passed_on_until_it_is_given_back() -> None:
    async def play() -> list[bytes]:
        told = []
        async with saying(b"leader") as leader, entrance(HERE, lambda: leader) as opened:
            for _ in range(2):
                async with opened.taken() as listener, saying(b"taken", sock=listener):
                    told += await asyncio.gather(*(answer_of(opened.port) for _ in range(8)))
                told.append(await answer_of(opened.port))
        return told

    assert asyncio.run(play()) == ([b"taken"] * 8 + [b"leader"]) * 2


def test_who_comes_before_the_taker_listens_waits_for_it() -> None:
    async def play() -> bytes:
        async with saying(b"leader") as leader, entrance(HERE, lambda: leader) as opened, opened.taken() as listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", opened.port)
            try:
                async with saying(b"taken", sock=listener):
                    return await asyncio.wait_for(reader.read(), 30)
            finally:
                writer.close()

    assert asyncio.run(play()) == b"taken"


def test_a_taker_that_fails_gives_the_entrance_back() -> None:
    async def play() -> bytes:
        async with saying(b"leader") as leader, entrance(HERE, lambda: leader) as opened:
            try:
                async with opened.taken():
                    raise OSError("it cannot listen at its own port")
            except OSError:
                return await answer_of(opened.port)

    assert asyncio.run(play()) == b"leader"


def test_an_entrance_in_the_other_family_is_passed_on_too() -> None:
    async def play() -> bytes:
        async with saying(b"leader") as leader, entrance(Address("::1", 0), lambda: leader) as opened:
            reader, writer = await asyncio.open_connection("::1", opened.port)
            try:
                return await asyncio.wait_for(reader.read(), 30)
            finally:
                writer.close()

    assert asyncio.run(play()) == b"leader"
