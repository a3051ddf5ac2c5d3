"""How is an HTTP server opened to anybody, so that whoever says nothing costs it nothing?

Behind an entrance of its own: who has said nothing that counts is a guest, and the connections that stay are bounded.
Must not know what is served.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Middleware

from checkpointheal_operator.doors.guests import Bounds, Guests
from checkpointheal_operator.doors.splice import Address, Gateway, entrance

READERS = Bounds(greeting=10.0, most=64, undisturbed=1.0, of_one=64)
"""Of a server in clear for probes and metrics: the kubelet comes anew each time, and a reader of metrics stays."""
KEPT_SECONDS = 120.0
"""Of a connection on which nothing is asked. An API server lets go of its own after 90, and must be the first to."""


def greeted(guests: Guests) -> Middleware:
    """A middleware: whoever asks anything whole is a guest no longer."""

    @web.middleware
    async def greet(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        guests.known(request.protocol)
        return await handler(request)

    return greet


@contextlib.asynccontextmanager
async def served(
    app: web.Application, here: Address, guests: Guests, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """The port at which it listens. `app` is who calls `guests.known`."""
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEPT_SECONDS)
    try:
        await runner.setup()
        with (
            entrance(here, lambda: None, guests) as door,
            door.leads_to(Gateway(cast("web.Server", runner.server), tls)),
        ):
            letting_in = asyncio.create_task(door.run())
            try:
                yield door.port
            finally:
                letting_in.cancel()
                await asyncio.wait({letting_in})
    finally:
        await runner.cleanup()
