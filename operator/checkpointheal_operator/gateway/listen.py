"""How does a server begin to listen, so that whoever is called off meanwhile leaves no port taken?

asyncio waits once more after the socket listens, and aiohttp knows of the server only afterwards: who is cancelled in
between loses it, and nobody can listen there until it is collected. Must not know who is served.
"""

import asyncio

from aiohttp import web


async def listen(site: web.BaseSite) -> None:
    """Wholly or not at all; its runner can close it then. Raises OSError where the address is not to be had."""
    starting = asyncio.ensure_future(site.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await starting
        raise
