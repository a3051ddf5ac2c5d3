"""The webhook's port, as `checkpointheal webhook` opens it: anybody may come, and only who asks something stays."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import builders_trust as build
from checkpointheal_operator.core.injection_settings import InjectionSettings
from checkpointheal_operator.doors import serving
from checkpointheal_operator.doors.guests import Bounds, Guests
from checkpointheal_operator.doors.serving import served
from checkpointheal_operator.doors.splice import Address
from checkpointheal_operator.gateway.authority import Authority
from checkpointheal_operator.measures.reviewing import WebhookMetrics
from checkpointheal_operator.webhook import app
from checkpointheal_operator.webhook.__main__ import CALLERS
from checkpointheal_operator.webhook.files import Certificate
from checkpointheal_operator.webhook.review import OUTCOMES

Caller = tuple[asyncio.StreamReader, asyncio.StreamWriter]
REVIEW = json.dumps(
    {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5",
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": "team",
            "object": {"metadata": {}, "spec": {"containers": [{"name": "trainer"}]}},
        },
    }
).encode()
SOON = Bounds(greeting=2.0, most=4, undisturbed=0.0, of_one=2)
"""Who is to be let in has to be that quick: no machine is too busy for it."""
PATIENT = Bounds(greeting=60.0, most=4, undisturbed=0.0, of_one=2)
SHORTEST_OF_AN_API_SERVER = 90.0


def asking(body: bytes, length: int | None = None) -> bytes:
    return b"POST /mutate HTTP/1.1\r\nHost: w\r\nContent-Length: %d\r\n\r\n%s" % (length or len(body), body)


def at_the_webhook(visit: Callable[[int], Awaitable[None]], folder: Path, bounds: Bounds = PATIENT) -> None:
    shown = Authority.begin(build.GATEWAY, build.NOW).serve(build.NOW)
    (folder / "chain").write_text(shown.chain)
    (folder / "key").write_text(shown.key)
    certificate, guests = Certificate(folder / "chain", folder / "key"), Guests(bounds)
    settings = InjectionSettings(image="agent", gateway="https://gateway")

    async def story() -> None:
        reviews = app.make_app(lambda: settings, WebhookMetrics(OUTCOMES), time.monotonic, guests.known)
        async with served(reviews, Address("127.0.0.1", 0), guests, certificate.context) as port:
            await visit(port)

    asyncio.run(story())


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=build.unverified())
    yield reader, writer
    writer.transport.abort()


async def said(caller: Caller, words: bytes = b"") -> int:
    """The status of the answer, once all of it is here."""
    caller[1].write(words or asking(REVIEW))
    head = await caller[0].readuntil(b"\r\n\r\n")
    length = next(int(each[15:]) for each in head.split(b"\r\n") if each.lower().startswith(b"content-length:"))
    await caller[0].readexactly(length)
    return int(head.split(b" ")[1])


@pytest.mark.parametrize("words", [b"", asking(REVIEW)[:30]], ids=["nothing", "half a header"])
def test_who_says_nothing_whole_is_sent_away_and_who_was_answered_stays(words: bytes, tmp_path: Path) -> None:
    async def visit(port: int) -> None:
        async with connected(port) as known, connected(port) as silent:
            assert await said(known) == 200
            silent[1].write(words)
            assert await build.is_sent_away(silent[0])
            assert await said(known) == 200

    at_the_webhook(visit, tmp_path, SOON)


def test_who_asks_but_for_no_review_is_sent_away_too(tmp_path: Path) -> None:
    async def visit(port: int) -> None:
        async with connected(port) as other:
            assert await said(other, b"GET /healthz HTTP/1.1\r\nHost: w\r\n\r\n") == 200
            assert await said(other, asking(b"{}")) == 400
            assert await build.is_sent_away(other[0])

    at_the_webhook(visit, tmp_path, SOON)


def test_of_too_many_whose_reviews_were_answered_the_one_that_asked_longest_ago_goes(tmp_path: Path) -> None:
    async def visit(port: int) -> None:
        async with connected(port) as first, connected(port) as second, connected(port) as third:
            for each in (first, second, first, third):
                assert await said(each) == 200
            assert await build.is_sent_away(second[0])
            for each in (first, third):
                assert await said(each) == 200

    at_the_webhook(visit, tmp_path)


def test_a_connection_on_which_nothing_is_asked_ends_some_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert serving.KEPT_SECONDS > SHORTEST_OF_AN_API_SERVER
    monkeypatch.setattr(serving, "KEPT_SECONDS", 0.2)

    async def visit(port: int) -> None:
        async with connected(port) as known:
            assert await said(known) == 200
            assert await build.is_sent_away(known[0])

    at_the_webhook(visit, tmp_path)


def test_who_leaves_in_the_middle_of_a_review_is_no_fault_of_ours(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def visit(port: int) -> None:
        async with connected(port) as leaves:
            leaves[1].write(asking(b"{", 99))
            await leaves[1].drain()
            await asyncio.sleep(0.05)
        async with connected(port) as other:
            assert await said(other) == 200

    at_the_webhook(visit, tmp_path)
    assert "aiohttp.server" not in {each.name for each in caplog.records}


def test_large_reviews_are_read_in_turn_and_small_ones_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "BUDGET_SECONDS", 2.0)
    monkeypatch.setattr(app, "LARGE_AT_ONCE", 1)

    async def visit(port: int) -> None:
        async with connected(port) as stalls, connected(port) as waits, connected(port) as small:
            stalls[1].write(asking(b"{", app.LARGE + 1))
            await stalls[1].drain()
            large = REVIEW + b" " * app.LARGE
            waiting = asyncio.create_task(said(waits, asking(large)))
            assert await said(small) == 200
            assert await said(stalls, b"{") == 408
            assert await waiting in (200, 408)
            assert await said(waits, asking(large)) == 200

    at_the_webhook(visit, tmp_path, CALLERS)
