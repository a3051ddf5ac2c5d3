"""Who shows no token is borne for a while, and for nobody else's harm."""

import asyncio
import contextlib
import http.client
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from typing import Any

import pytest

import builders_trust as build
from builders_api import WHERE, pod_object
from builders_core import a_pod, m
from checkpointheal_operator.doors import guests as room
from checkpointheal_operator.doors import regulars
from checkpointheal_operator.doors.guests import Bounds, Guests
from checkpointheal_operator.doors.splice import Address, Gateway, entrance
from checkpointheal_operator.gateway import app
from checkpointheal_operator.gateway.authority import Authority
from checkpointheal_operator.gateway.registrar import Registrar
from checkpointheal_operator.shell import replica as replica_room
from checkpointheal_operator.shell.cluster import PODS
from checkpointheal_operator.shell.replica import Replica
from fake_api import pod_token
from replicas import Stage

NOW = 0.0
AGES = 3600.0
HALF_A_HEADER = b"POST /v1/report HTTP/1.1\r\nHost: gateway\r\nAuthor"


class Greeted(asyncio.Protocol):
    """A server's end: whoever says `token` is known, by its name or for itself, and everybody's words come back."""

    def __init__(self, guests: Guests) -> None:
        self._guests = guests
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        word, _, name = data.decode().partition(" of ")
        if word == "token":
            self._guests.known(self, name or str(id(self)))
        if self.transport is not None:
            self.transport.write(data)


class Door:
    """An entrance with a gateway behind it, and who comes there."""

    def __init__(self, port: int, tls: ssl.SSLContext | None, guests: Guests) -> None:
        self.port, self._tls, self._guests = port, tls, guests
        self._came: list[asyncio.StreamWriter] = []

    async def someone(self, says: bytes = b"") -> asyncio.StreamReader:
        """Who has been let in, and answered where it says anything."""
        tls = build.unverified() if self._tls else None
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=tls)
        self._came.append(writer)
        await self.says(says, reader)
        return reader

    async def says(self, words: bytes, reader: asyncio.StreamReader) -> None:
        if words:
            writer = next(each for each in self._came if each._reader is reader)  # type: ignore[attr-defined]
            writer.write(words)
            assert await reader.readexactly(len(words)) == words

    @property
    def known(self) -> Collection[str]:
        return self._guests._regulars._here.keys()

    @property
    def connections(self) -> Collection[object]:
        return self._guests._regulars._named

    def close_first(self) -> None:
        self._came[0].close()

    def close(self) -> None:
        for each in self._came:
            each.close()


@contextlib.asynccontextmanager
async def a_door(tls: ssl.SSLContext | None = None) -> AsyncIterator[Door]:
    guests = Guests()
    gateway = Gateway(lambda: Greeted(guests), tls)
    with entrance(Address("127.0.0.1", 0), lambda: None, guests) as found, found.leads_to(gateway):
        running = asyncio.create_task(found.run())
        door = Door(found.port, tls, guests)
        try:
            yield door
        finally:
            door.close()
            running.cancel()
            await asyncio.wait({running})
            assert running.cancelled()


def run(story: Callable[[Door], Coroutine[Any, Any, None]], tls: ssl.SSLContext | None = None) -> None:
    async def play() -> None:
        async with a_door(tls) as door:
            await story(door)

    asyncio.run(play())


@pytest.mark.parametrize("secured", [False, True], ids=["in clear", "over TLS"])
def test_who_shows_no_token_is_sent_away_whatever_else_it_says_and_who_shows_one_stays(secured, monkeypatch):
    monkeypatch.setattr(room, "GREETING_SECONDS", 0.3)
    registrar = Registrar(Authority.begin(build.GATEWAY, build.NOW), lambda: build.NOW)

    async def story(door: Door) -> None:
        known = await door.someone(b"token")
        assert await build.is_sent_away(await door.someone())
        assert await build.is_sent_away(await door.someone(b"words"))
        await door.says(b"still here", known)
        await door.says(b"token", known)

    run(story, registrar.context if secured else None)


def test_who_never_begins_its_handshake_is_sent_away(monkeypatch):
    monkeypatch.setattr(room, "GREETING_SECONDS", 0.1)
    registrar = Registrar(Authority.begin(build.GATEWAY, build.NOW), lambda: build.NOW)

    async def story(door: Door) -> None:
        door._tls = None
        assert await build.is_sent_away(await door.someone())

    run(story, registrar.context)


def test_of_too_many_who_show_no_token_the_first_goes_and_nobody_who_is_known(monkeypatch, caplog):
    monkeypatch.setattr(room, "MOST", 4)
    monkeypatch.setattr(room, "UNDISTURBED_SECONDS", NOW)
    monkeypatch.setattr(room, "GREETING_SECONDS", AGES)

    async def story(door: Door) -> None:
        known = [await door.someone(b"token") for _ in range(8)]
        guests = [await door.someone(b"words") for _ in range(10)]
        for each in guests[:6]:
            assert await build.is_sent_away(each)
        for each in [*known, *guests[6:]]:
            await door.says(b"still here", each)

    run(story)
    assert caplog.text.count("connections have said nothing that counts") == 1


def test_whoever_is_new_is_left_in_peace_for_a_while_and_the_next_one_waits_until_it_is_known(monkeypatch):
    """When all agents come at once, to a new leader."""
    monkeypatch.setattr(room, "MOST", 1)
    monkeypatch.setattr(room, "UNDISTURBED_SECONDS", AGES)

    async def story(door: Door) -> None:
        first = await door.someone(b"words")
        waiting = asyncio.create_task(door.someone(b"token"))
        await door.says(b"not sent away", first)
        assert not waiting.done()
        await door.says(b"token", first)
        await door.says(b"one more", await waiting)

    run(story)


def test_of_too_many_connections_of_one_pod_the_one_that_was_silent_for_longest_goes_and_nobody_elses(monkeypatch):
    monkeypatch.setattr(room, "OF_ONE", 3)

    async def story(door: Door) -> None:
        other = await door.someone(b"token of pod 2")
        first, second, third = [await door.someone(b"token of pod 1") for _ in range(3)]
        await door.says(b"token of pod 1", first)
        fourth = await door.someone(b"token of pod 1")
        assert await build.is_sent_away(second)
        for each in (first, third, fourth, other):
            await door.says(b"still here", each)

    run(story)


def test_a_connection_that_speaks_for_another_pod_is_that_ones(monkeypatch):
    monkeypatch.setattr(room, "OF_ONE", 1)

    async def story(door: Door) -> None:
        first = await door.someone(b"token of pod 1")
        await door.says(b"token of pod 2", first)
        second = await door.someone(b"token of pod 1")
        for each in (first, second):
            await door.says(b"still here", each)

    run(story)


def test_a_pod_that_never_comes_again_is_forgotten(monkeypatch):
    monkeypatch.setattr(regulars, "SWEPT_EVERY", NOW)

    async def story(door: Door) -> None:
        await door.someone(b"token of pod 1")
        kept = await door.someone(b"token of pod 2")
        assert set(door.known) == {"pod 1", "pod 2"}
        door.close_first()
        while set(door.known) != {"pod 2"}:
            await door.says(b"token of pod 2", kept)
        assert len(door.connections) == 1

    run(story)


def test_an_entrance_that_ends_closes_who_waits_for_room(monkeypatch):
    monkeypatch.setattr(room, "MOST", 1)
    monkeypatch.setattr(room, "UNDISTURBED_SECONDS", AGES)

    async def play() -> socket.socket:
        async with a_door() as door:
            first = await door.someone(b"words")
            waiting = socket.create_connection(("127.0.0.1", door.port), 20)
            await door.says(b"it may be accepted", first)
            await door.says(b"and is by now", first)
            return waiting

    with asyncio.run(play()) as waiting:
        assert waiting.recv(1) == b""


def test_where_nobody_leaves_who_has_been_a_guest_for_longest_goes_in_its_time(monkeypatch):
    monkeypatch.setattr(room, "MOST", 1)
    monkeypatch.setattr(room, "UNDISTURBED_SECONDS", 0.1)

    async def story(door: Door) -> None:
        first = await door.someone(b"words")
        await door.someone(b"token")
        assert await build.is_sent_away(first)

    run(story)


def agent_of(stage: Stage, replica: Replica) -> http.client.HTTPConnection:
    """Whose token is good, before the replica."""
    pod = a_pod(m("0/0"))
    stage.call(lambda: stage.cluster.put(PODS, pod_object(pod)))
    stage.api.tokens["secret"] = pod_token(WHERE, pod.name, pod.uid)
    return http.client.HTTPConnection(replica.settings.pod_ip, replica.gateway_port, timeout=20)


def status(agent: http.client.HTTPConnection, token: str = "secret") -> int:
    agent.request("GET", "/v1/orders?seen=no-number", headers={"Authorization": f"Bearer {token}"})
    answer = agent.getresponse()
    answer.read()
    return answer.status


def test_whose_token_is_nobodys_is_told_so_and_sent_away(monkeypatch):
    monkeypatch.setattr(room, "GREETING_SECONDS", 0.5)
    monkeypatch.setattr(app, "REFUSAL_SECONDS", NOW)
    with Stage() as stage:
        replica = stage.start("operator-0")
        stage.until(lambda: replica.operator is not None)
        stranger = agent_of(stage, replica)
        assert status(stranger, "nobody's") == 401
        assert stranger.sock is not None
        assert stranger.sock.recv(1) == b""
        stranger.close()


@pytest.mark.parametrize("comes_to", ["the leader", "a follower"])
def test_a_flood_of_half_headers_ends_no_agents_connection(comes_to, monkeypatch):
    monkeypatch.setattr(room, "GREETING_SECONDS", 0.5)
    with Stage() as stage:
        leader = stage.start("operator-0")
        stage.until(lambda: leader.operator is not None)
        replica = leader if comes_to == "the leader" else stage.start("operator-1")
        stage.until(lambda: replica is leader or replica._leader() is not None)
        agent = agent_of(stage, replica)
        assert status(agent) == 400
        mine = agent.sock
        flood = [socket.create_connection((replica.settings.pod_ip, replica.gateway_port), 20) for _ in range(40)]
        for each in flood:
            each.sendall(HALF_A_HEADER)
        assert [each.recv(1) for each in flood] == [b""] * 40
        assert status(agent) == 400
        assert agent.sock is mine
        for each in [agent, *flood]:
            each.close()


def test_whose_token_is_good_and_who_then_says_half_a_header_is_sent_away(monkeypatch):
    monkeypatch.setattr(replica_room, "KEPT_SECONDS", 0.3)
    with Stage() as stage:
        replica = stage.start("operator-0")
        stage.until(lambda: replica.operator is not None)
        agent = agent_of(stage, replica)
        assert status(agent) == 400
        agent.sock.sendall(HALF_A_HEADER)
        assert agent.sock.recv(1) == b""
        agent.close()


def test_of_many_connections_of_one_token_a_few_stay(monkeypatch):
    monkeypatch.setattr(room, "OF_ONE", 2)
    with Stage() as stage:
        replica = stage.start("operator-0")
        stage.until(lambda: replica.operator is not None)
        agents = [agent_of(stage, replica) for _ in range(6)]
        assert [status(each) for each in agents] == [400] * 6
        for each in agents[:4]:
            assert is_closed(each)
        assert [status(each) for each in agents[4:]] == [400] * 2
        for each in agents:
            each.close()


def is_closed(agent: http.client.HTTPConnection) -> bool:
    try:
        return agent.sock.recv(1) == b""
    except ConnectionError:
        return True


def test_at_the_health_port_too_who_asks_nothing_is_sent_away_and_a_reader_stays(monkeypatch):
    monkeypatch.setattr(replica_room, "READERS", Bounds(greeting=2.0, most=4, undisturbed=NOW, of_one=2))
    with Stage() as stage:
        replica = stage.start("operator-0")
        reader = http.client.HTTPConnection(replica.settings.pod_ip, replica.health_port, timeout=20)
        assert page(reader) == 200
        mine = reader.sock
        silent = [socket.create_connection((replica.settings.pod_ip, replica.health_port), 20) for _ in range(8)]
        silent[0].sendall(HALF_A_HEADER)
        assert [each.recv(1) for each in silent] == [b""] * 8
        assert page(reader) == 200
        assert reader.sock is mine
        for each in [reader, *silent]:
            each.close()


def page(reader: http.client.HTTPConnection) -> int:
    reader.request("GET", "/metrics")
    answer = reader.getresponse()
    answer.read()
    return answer.status
