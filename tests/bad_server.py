"""What an API server does to those who ask it: each is one bad time, from its beginning to its end.

Must not know who asks, or what was promised of them.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web

from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, HEALS, PODS
from fake_api import FakeApi

MINUTE = (50.0, 70.0)
"""Seconds of about one: when whoever asks pauses longer and longer, it matters when it ends."""
WATCHED = (PODS, HEALS, CHECKPOINTHEALS)
WRITES = ("POST", "PATCH", "DELETE")
RIGHTS = (
    ("POST", "heals", ""),
    ("PATCH", "heals", ""),
    ("PATCH", "heals", "status"),
    ("PATCH", "checkpointheals", "status"),
    ("POST", "events", ""),
    ("GET", "pods", ""),
    ("GET", "heals", ""),
    ("PATCH", "leases", ""),
)
"""Method, plural and part of what may be forbidden."""


class BadTime(NamedTuple):
    """How an API server misbehaves, and for how many seconds the mirrors may differ from it because of that."""

    begin: Callable[[FakeApi, random.Random], Awaitable[None]]
    seconds: float
    refuses: bool = False
    """Seconds count from where the server refuses nobody any more: until then nobody can know better."""
    restarts: int = 1
    """How often the process may start again."""


def breaking(fault: str) -> Callable[[FakeApi, random.Random], Awaitable[None]]:
    """Streams that stand are struck, some of the next ones too, again and again."""

    async def begin(api: FakeApi, chance: random.Random) -> None:
        for _ in range(4):
            for kind in WATCHED:
                if chance.random() < 0.7:
                    api.strike(kind, fault)
                    api.faults[kind.plural].extend([fault] * chance.randrange(3))
            await asyncio.sleep(chance.uniform(1, 8))

    return begin


async def stall(api: FakeApi, chance: random.Random) -> None:
    """The streams stand, and nothing comes any more."""
    for kind in chance.sample(WATCHED, chance.randint(1, 3)):
        api.strike(kind, "stall")
    await asyncio.sleep(80)


async def send_no_bookmark(api: FakeApi, chance: random.Random) -> None:
    """Streams tell what changes and nothing else, for longer than a replica bears silence. The API allows it."""
    api.bookmarks = False
    await asyncio.sleep(chance.uniform(300, 320))
    api.bookmarks = True


async def forget(api: FakeApi, chance: random.Random) -> None:
    """Streams break, cannot be had again for a while, and what happened meanwhile is forgotten: nobody ever tells it.

    Whoever deletes does it meanwhile: see `bad_times`.
    """
    for _ in range(6):
        api.strike(PODS, "reset")
        api.refuse = lambda asked: refused(500, "InternalError") if "watch" in asked.query else None
        await asyncio.sleep(2)
        api.cluster.compact()
        api.refuse = nobody_refused
        await asyncio.sleep(chance.uniform(1, 3))


async def swallow(_api: FakeApi, chance: random.Random) -> None:
    """A deletion that no stream tells of, though none breaks. Whoever deletes does that here: see `bad_times`."""
    await asyncio.sleep(chance.uniform(20, 30))


def refusing(code: int, reason: str) -> Callable[[FakeApi, random.Random], Awaitable[None]]:
    """A minute without any answer but this, or without any of one kind; streams may break at its beginning."""

    async def begin(api: FakeApi, chance: random.Random) -> None:
        for kind in WATCHED:
            if chance.random() < 0.7:
                api.strike(kind, chance.choice(("reset", "ended")))
        plural = chance.choice(("", "", *(kind.plural for kind in WATCHED)))

        def answer(request: web.Request) -> web.Response | None:
            return refused(code, reason) if plural in request.path else None

        await _answered(api, answer, chance)

    return begin


async def forbid(api: FakeApi, chance: random.Random) -> None:
    """One right is missing for a minute; streams that it was needed for end."""
    method, plural, part = chance.choice(RIGHTS)
    for kind in WATCHED:
        if (method, plural) == ("GET", kind.plural):
            api.strike(kind, "ended")

    def answer(request: web.Request) -> web.Response | None:
        words = request.path.split("/")
        asked = request.method == method and plural in words and (words[-1] == "status") == (part == "status")
        return refused(403, "Forbidden") if asked else None

    await _answered(api, answer, chance)


async def conflict(api: FakeApi, chance: random.Random) -> None:
    """Every write comes too late for a minute."""
    await _answered(api, lambda asked: refused(409, "Conflict") if asked.method in WRITES else None, chance)


async def be_slow(api: FakeApi, chance: random.Random) -> None:
    """Each answer takes a second."""
    api.takes = 1.0
    await asyncio.sleep(chance.uniform(*MINUTE))
    api.takes = 0.0


async def _answered(api: FakeApi, answer: Callable[[web.Request], web.Response | None], chance: random.Random) -> None:
    api.refuse = answer
    await asyncio.sleep(chance.uniform(*MINUTE))
    api.refuse = nobody_refused


def refused(code: int, reason: str) -> web.Response:
    body = {"kind": "Status", "code": code, "reason": reason, "message": "not now"}
    return web.json_response(body, status=code, headers={"Retry-After": "1"} if code == 429 else None)


def nobody_refused(_request: web.Request) -> web.Response | None:
    return None


BAD_TIMES = {
    "410 in the watch": BadTime(breaking("expired"), 5),
    "ERROR 500 in the watch": BadTime(breaking("error"), 5),
    "the connection is reset": BadTime(breaking("reset"), 5),
    "the stream falls silent": BadTime(stall, 75),
    "no bookmarks at all": BadTime(send_no_bookmark, 5, restarts=0),
    "events come twice": BadTime(breaking("twice"), 5),
    "events come in another order": BadTime(breaking("reordered"), 5),
    "a DELETE falls into a gap": BadTime(forget, 5, refuses=True),
    "a DELETE is never told": BadTime(swallow, float("inf")),
    "429 for a minute": BadTime(refusing(429, "TooManyRequests"), 5, refuses=True),
    "500 for a minute": BadTime(refusing(500, "InternalError"), 5, refuses=True),
    "403 for one verb for a minute": BadTime(forbid, 5, refuses=True),
    "each write conflicts for a minute": BadTime(conflict, 5),
    "each answer takes a second for a minute": BadTime(be_slow, 5),
}
