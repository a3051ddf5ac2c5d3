"""Who has come in over TLS: a stranger goes at once, who says nothing in time, and nobody who is being answered."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

import builders_agent as agents
import builders_trust as build
from checkpointheal.agent import inside as room
from checkpointheal.agent import peer_door, porter
from checkpointheal.agent.credentials import Credentials
from checkpointheal.contract.peer import Ask, Meet, No
from checkpointheal.contract.trust import pod_host
from checkpointheal_operator.gateway.authority import Authority
from checkpointheal_operator.gateway.authority.terms import DAY

AUTHORITY = Authority.begin((), build.NOW)
AGES = 3600.0
ASKS = b"GET /v1/private/2/0/4 HTTP/1.1\r\nHost: agent\r\n\r\n"
Guest = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def of_the_job(pod_uid: str = "uid-2") -> Credentials:
    return build.credentials(AUTHORITY, build.a_holder(2, pod_uid=pod_uid))


@asynccontextmanager
async def connected(host: build.Inside, shown: Credentials) -> AsyncIterator[Guest]:
    """Over TLS, as far as the guest can tell."""
    where = host.peer.endpoint
    name = pod_host(host.peer.pod_uid)
    reader, writer = await asyncio.open_connection(where.host, where.port, ssl=shown.client, server_hostname=name)
    yield reader, writer
    writer.transport.abort()


async def said(guest: Guest, words: bytes = ASKS) -> bytes:
    """The first line of the answer, once all of it is here."""
    reader, writer = guest
    writer.write(words)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(each[15:]) for each in head.split(b"\r\n") if each.lower().startswith(b"content-length:"))
    await reader.readexactly(length)
    return head.partition(b"\r\n")[0]


def at_the_door(visit: Callable[[build.Inside], Awaitable[None]]) -> None:
    async def story() -> None:
        async with build.an_agent(0, build.credentials(AUTHORITY, build.a_holder(0))) as host:
            await visit(host)

    asyncio.run(story())


STRANGERS = {
    "of another job": build.a_holder(2, job="other"),
    "of a job of that name in another namespace": build.a_holder(2, namespace="other"),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_is_sent_away_before_it_says_a_word(stranger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(porter, "KNOCK_SECONDS", AGES)

    async def visit(host: build.Inside) -> None:
        for _ in range(5):
            async with connected(host, build.credentials(AUTHORITY, STRANGERS[stranger])) as guest:
                assert await build.is_sent_away(guest[0])

    at_the_door(visit)


@pytest.mark.parametrize("words", [b"", ASKS[:20]], ids=["nothing", "half a header"])
def test_a_member_that_says_no_whole_word_is_sent_away_in_time(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(porter, "KNOCK_SECONDS", 0.2)

    async def visit(host: build.Inside) -> None:
        async with connected(host, of_the_job()) as speaks, connected(host, of_the_job()) as silent:
            assert b"404" in await said(speaks)
            silent[1].write(words)
            assert await build.is_sent_away(silent[0])
            assert b"404" in await said(speaks)

    at_the_door(visit)


def test_who_says_half_a_header_after_a_whole_word_is_sent_away_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_door, "KEPT_SECONDS", 0.2)

    async def visit(host: build.Inside) -> None:
        async with connected(host, of_the_job()) as guest:
            assert b"404" in await said(guest)
            guest[1].write(ASKS[:20])
            assert await build.is_sent_away(guest[0])

    at_the_door(visit)


def test_who_never_sends_what_it_has_announced_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_door, "BODY_SECONDS", 0.1)

    async def visit(host: build.Inside) -> None:
        async with connected(host, of_the_job()) as guest:
            words = b"PUT /v1/private/2/0/4 HTTP/1.1\r\nHost: agent\r\nContent-Length: 9\r\n\r\nhalf"
            assert b"408" in await said(guest, words)
        assert host.keep.held() == ()

    at_the_door(visit)


def test_whose_certificate_ends_while_it_is_inside_is_refused_and_sent_away() -> None:
    now = [build.NOW]

    async def story() -> None:
        async with (
            build.an_agent(0, build.credentials(AUTHORITY, build.a_holder(0)), lambda: now[0]) as host,
            connected(host, of_the_job()) as guest,
        ):
            assert b"404" in await said(guest)
            now[0] += DAY + 1
            assert b"403" in await said(guest)
            assert await build.is_sent_away(guest[0])

    asyncio.run(story())


def test_of_too_many_connections_of_one_pod_one_that_waits_for_nothing_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "OF_A_POD", 3)
    answered, asked = asyncio.Event(), asyncio.Event()

    async def later(_ask: Ask) -> Meet | No:
        asked.set()
        await answered.wait()
        return Meet(store_port=4711, prefix="heal-1/1", total=0)

    async def visit(host: build.Inside) -> None:
        host.door.answer_ask = later
        body = Ask(heal="h", attempt=1, recipient_uid="uid-2", **dict(agents.STATE)).model_dump_json().encode()
        asks = b"POST /v1/ask HTTP/1.1\r\nHost: agent\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        async with contextlib.AsyncExitStack() as stack:
            own = of_the_job()
            first = await stack.enter_async_context(connected(host, own))
            waiting = asyncio.create_task(said(first, asks))
            await asked.wait()
            another = await stack.enter_async_context(connected(host, of_the_job("uid-9")))
            assert b"404" in await said(another)
            others = []
            for _ in range(6):
                others.append(await stack.enter_async_context(connected(host, own)))
                assert b"404" in await said(others[-1])
            for each in others[:-2]:
                assert await build.is_sent_away(each[0])
            for each in (*others[-2:], another):
                assert b"404" in await said(each)
            answered.set()
            assert b"200" in await waiting

    at_the_door(visit)


def test_where_all_connections_of_a_pod_are_being_answered_one_more_is_sent_away() -> None:
    class Transport(asyncio.Transport):
        gone = False

        def is_closing(self) -> bool:
            return self.gone

        def abort(self) -> None:
            self.gone = True

    inside, protocol = room.Inside(), asyncio.Protocol()
    here = [Transport() for _ in range(room.OF_A_POD)]
    with contextlib.ExitStack() as answering:
        for each in here:
            assert inside.has_room("uid-2", each)
            answering.enter_context(inside.answering(protocol, each))
        assert not inside.has_room("uid-2", Transport())
        assert inside.has_room("uid-3", Transport())
    assert not any(each.gone for each in here)
    here[3].gone = True
    assert inside.has_room("uid-2", Transport())
    assert sum(each.gone for each in here) == 1
    assert inside.has_room("uid-2", Transport())
    assert sum(each.gone for each in here) == 2
    for each in inside._open["uid-3"]:
        each.abort()
    assert inside.has_room("uid-4", Transport())
    assert set(inside._open) == {"uid-2", "uid-4"}
    with inside.answering(protocol, None):
        assert not inside._answering
