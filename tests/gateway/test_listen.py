"""Whoever is called off while it begins to listen leaves its port to others."""

import asyncio
import contextlib
import socket

import pytest
from aiohttp import web

from checkpointheal_operator.gateway.listen import listen

TURNS = 12
"""Of the loop: more than it takes to listen."""


async def called_off(port: int, turns: int) -> bool:
    """After so many turns; whether it listened before."""
    runner = web.AppRunner(web.Application())
    await runner.setup()
    beginning = asyncio.create_task(listen(web.TCPSite(runner, "127.0.0.1", port)))
    for _ in range(turns):
        await asyncio.sleep(0)
    was_done = beginning.done()
    beginning.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await beginning
    await runner.cleanup()
    return was_done


@pytest.mark.parametrize("turns", range(TURNS))
def test_a_port_is_free_again_whenever_it_is_called_off(turns: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as some:
        port = some.getsockname()[1]
    was_done = asyncio.run(called_off(port, turns))
    socket.create_server(("127.0.0.1", port)).close()
    assert was_done or turns < TURNS - 1, "it takes more turns than are tried"


def test_an_address_that_another_one_has_is_told() -> None:
    async def begins(port: int) -> None:
        runner = web.AppRunner(web.Application())
        await runner.setup()
        try:
            await listen(web.TCPSite(runner, "127.0.0.1", port))
        finally:
            await runner.cleanup()

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        asyncio.run(begins(taken.getsockname()[1]))
