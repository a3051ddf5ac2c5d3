"""How an agent stays certified: a key that goes nowhere, a token that is replaced, roots that follow one another."""

import asyncio
import builtins
import contextlib
import io
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import builders_agent as agents
import builders_trust as build
from checkpointheal.agent.agent import Agent
from checkpointheal.agent.credentials import Credentials, GatewayAccess, OwnKey, Renewal, retry_after
from checkpointheal.agent.gateway_link import GatewayLink
from checkpointheal.agent.settings import AgentSettings
from checkpointheal.contract.orders import Orders
from checkpointheal.contract.trust import Issued
from checkpointheal.errors import PeerLost
from checkpointheal_operator.gateway.authority import Authority
from checkpointheal_operator.gateway.authority.terms import DAY, HOUR

HOLDER = build.a_holder()
AUTHORITY = Authority.begin(build.GATEWAY, build.NOW)
TOKEN = "a-token-that-is-secret"


def some_settings(folder: Path, authority: Authority, url: str = "https://localhost:1") -> AgentSettings:
    """Of an injected pod, its token in a file."""
    (folder / "token").write_text(TOKEN)
    known = agents.some_settings(folder / "arena").model_dump() | {"token": "", "peer_key": "", "job": HOLDER.job}
    root = authority.trusted(build.NOW)
    return AgentSettings(**known | {"token_file": folder / "token", "gateway_root": root, "gateway": url})


class Slept(Exception):
    """The test has seen enough."""


def course_of(
    answers: list[Callable[[str], Issued | None]], uid: str = HOLDER.pod_uid
) -> tuple[list[float], list[Any]]:
    """What a renewal sleeps and uses when it is answered so, without waiting for any of it."""
    sleeps: list[float] = []
    used: list[Credentials] = []

    async def ask(csr: str) -> Issued | None:
        if len(sleeps) == len(answers):
            raise Slept
        return answers[len(sleeps)](csr)

    async def use(found: Credentials, roots: str) -> None:
        used.append(found)

    async def sleep(seconds: float) -> None:
        sleeps.append(seconds)

    with pytest.raises(Slept):
        asyncio.run(Renewal(uid, ask, use, sleep).run())
    return sleeps, used


def granted(csr: str) -> Issued:
    answer = AUTHORITY.issue(csr, HOLDER, build.HOST, build.NOW)
    assert isinstance(answer, Issued)
    return answer


def denied(csr: str) -> None:
    return None


def test_a_certificate_is_renewed_at_two_thirds_and_each_time_for_another_key() -> None:
    asked: list[str] = []

    def note(csr: str) -> Issued:
        asked.append(csr)
        return granted(csr)

    sleeps, used = course_of([note, note, note])
    assert sleeps == pytest.approx([16 * HOUR] * 3)
    assert (len(set(asked)), len(used)) == (3, 3)


def test_what_fails_is_tried_again_ever_later_and_a_success_begins_anew() -> None:
    sleeps, used = course_of([denied, denied, denied, granted, denied])
    assert sleeps == pytest.approx([0.5, 1, 2, 16 * HOUR, 0.5])
    assert len(used) == 1
    assert retry_after(1000) == 30


def test_a_first_certificate_is_asked_for_every_two_seconds_at_least_however_long_the_gateway_was_away() -> None:
    sleeps, _ = course_of([denied] * 8 + [granted])
    assert sleeps == pytest.approx([0.5, 1, 2, 2, 2, 2, 2, 2, 16 * HOUR])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda issued: issued.model_copy(update={"chain": granted(OwnKey.new().csr).chain}),
        lambda issued: issued.model_copy(update={"chain": "none"}),
        lambda issued: issued.model_copy(update={"roots": "none"}),
        lambda issued: issued.model_copy(update={"roots": ""}),
        lambda issued: issued.model_copy(update={"roots": "\u2603"}),
        lambda issued: issued.model_copy(update={"holder": build.a_holder(1)}),
    ],
    ids=["another key's", "no certificate", "no roots", "empty roots", "no ASCII", "another pod's"],
)
def test_an_answer_that_cannot_be_right_is_not_used_and_told_of(
    spoil: Callable[[Issued], Issued], caplog: pytest.LogCaptureFixture
) -> None:
    sleeps, used = course_of([lambda csr: spoil(granted(csr)), granted])
    assert (sleeps[0], len(used)) == (0.5, 1)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_life_that_is_over_at_once_does_not_make_the_agent_spin() -> None:
    sleeps, _ = course_of([lambda csr: granted(csr).model_copy(update={"renew_after": 0.0})])
    assert sleeps == [1.0]


def test_a_token_is_read_again_and_the_last_one_serves_while_its_file_is_away(tmp_path: Path) -> None:
    access = GatewayAccess(some_settings(tmp_path, AUTHORITY))
    assert access.token() == TOKEN
    (tmp_path / "next").write_text("the next one\n")
    (tmp_path / "next").replace(tmp_path / "token")
    assert access.token() == "the next one"
    (tmp_path / "token").unlink()
    assert access.token() == "the next one"


def test_roots_that_are_none_leave_the_old_ones_believed(tmp_path: Path) -> None:
    access = GatewayAccess(some_settings(tmp_path, AUTHORITY))
    before = access.tls
    with pytest.raises(OSError, match="cadata"):
        access.believe("none")
    access.believe(AUTHORITY.trusted(build.NOW))
    assert access.tls is before


def with_a_link(
    folder: Path, authority: Authority, visit: Callable[[build.Gateway, GatewayLink, GatewayAccess], Awaitable[None]]
) -> None:
    """Run `visit` between a gateway and an agent's link to it, which believes the authority's first root."""

    async def story() -> None:
        async with (
            build.a_gateway(authority, **{TOKEN: build.a_caller(HOLDER)}) as gateway,
            aiohttp.ClientSession() as session,
        ):
            access = GatewayAccess(some_settings(folder, authority, gateway.url))
            await visit(gateway, GatewayLink(session, gateway.url, access), access)

    asyncio.run(story())


def test_a_gateway_that_the_root_does_not_vouch_for_is_told_nothing(tmp_path: Path) -> None:
    async def visit(gateway: build.Gateway, link: GatewayLink, access: GatewayAccess) -> None:
        assert await link.certificate(OwnKey.new().csr) is not None
        seen = len(gateway.asked)
        access.believe(Authority.begin(build.GATEWAY, build.NOW).trusted(build.NOW))
        assert await link.certificate(OwnKey.new().csr) is None
        assert len(gateway.asked) == seen

    with_a_link(tmp_path, AUTHORITY, visit)


def test_a_token_is_replaced_under_a_running_link(tmp_path: Path) -> None:
    async def visit(gateway: build.Gateway, link: GatewayLink, access: GatewayAccess) -> None:
        gateway.tokens = {"the next one": build.a_caller(HOLDER)}
        assert await link.certificate(OwnKey.new().csr) is None
        (tmp_path / "token").write_text("the next one")
        assert await link.certificate(OwnKey.new().csr) is not None

    with_a_link(tmp_path, AUTHORITY, visit)


def test_a_long_poll_outlives_new_certificates_and_a_new_root(tmp_path: Path) -> None:
    """The old root was made a year and more ago, so that a new one is due today."""
    old = Authority.begin(build.GATEWAY, build.NOW - 366 * DAY)

    async def visit(gateway: build.Gateway, link: GatewayLink, access: GatewayAccess) -> None:
        taken: list[Orders] = []
        arrived = asyncio.Event()

        def take(orders: Orders) -> None:
            taken.append(orders)
            if orders.revision:
                arrived.set()

        gateway.hub.order({HOLDER.pod_uid: Orders(revision=1)})
        following = asyncio.create_task(link.follow_orders(take))
        await arrived.wait()
        arrived.clear()
        polls = len(gateway.asked)
        while len(gateway.asked) == polls:  # the next poll is at the gateway
            await asyncio.sleep(0)
        gateway.turn(build.NOW)
        answer = await link.certificate(OwnKey.new().csr)
        assert answer is not None
        access.believe(answer.roots)
        polls = len(gateway.asked)
        gateway.hub.order({HOLDER.pod_uid: Orders(revision=2)})
        await arrived.wait()
        assert len(gateway.asked) == polls, "the very poll that was open before"
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        assert [orders.revision for orders in taken] == [1, 2]
        assert answer.roots.count("BEGIN CERTIFICATE") == 2

    with_a_link(tmp_path, old, visit)


def test_agents_speak_on_while_the_root_is_replaced_and_one_born_before_still_gets_in(tmp_path: Path) -> None:
    """Two days ago the second root was made: since yesterday it signs. One agent renews, the other has not yet."""
    old = Authority.begin(build.GATEWAY, build.NOW - 367 * DAY)
    turned = old.turned(build.NOW - 2 * DAY)
    before = build.NOW - 20 * HOUR

    async def visit(gateway: build.Gateway, link: GatewayLink, access: GatewayAccess) -> None:
        gateway.authority = turned
        gateway.turn(build.NOW)
        assert build.certificate(gateway.registrar.certify(build.a_caller(HOLDER), OwnKey.new().csr).chain).issuer == (
            turned.roots[1].certificate.subject
        )
        key = OwnKey.new()
        answer = await link.certificate(key.csr)
        assert answer is not None, "an agent that knows the first root alone trusts the second's word"
        renewed = key.with_certificate(answer)
        late = build.credentials(turned, build.a_holder(1), before)
        for host, guest in ((renewed, late), (late, renewed)):
            async with (
                build.an_agent(host.holder.member.replica, host) as there,
                build.a_guest(guest) as peers,
            ):
                assert await peers.put_private(there.peer, guest.holder.member, 1, b"x")

    with_a_link(tmp_path, old, visit)


def test_an_agent_certifies_itself_and_shows_its_secrets_to_no_file_and_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The whole agent: its key is never written to anything that is a file, nor is it in what is logged or sent."""
    caplog.set_level(logging.DEBUG)
    keys: list[str] = []
    make = OwnKey.new

    def noted() -> OwnKey:
        keys.append((key := make()).pem)
        return key

    monkeypatch.setattr(OwnKey, "new", noted)

    async def story() -> None:
        async with (
            build.a_gateway(AUTHORITY, **{TOKEN: build.a_caller(HOLDER)}) as gateway,
            aiohttp.ClientSession() as session,
        ):
            agent = Agent(some_settings(tmp_path, AUTHORITY, gateway.url), session)
            monkeypatch.setattr(agent._transfers, "warm_up", lambda: asyncio.sleep(0))
            running = asyncio.create_task(agent.run())
            await agents.until(lambda: gateway.hub.heard and agent._certificates.ready)
            (heard,) = gateway.hub.heard
            peer = agents.a_peer(0, heard.report.endpoint.port)
            async with build.a_guest(build.credentials(AUTHORITY, build.a_holder(1))) as guest:
                while not await left(guest, peer):
                    await asyncio.sleep(0.01)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(story())
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "token")
    secret = [key.splitlines()[1] for key in keys]
    assert keys
    for each in (*secret, TOKEN):
        assert each not in caplog.text
        assert each.encode() not in written


async def left(guest: Any, peer: Any) -> bool:
    try:
        return bool(await guest.put_private(peer, agents.a_member(1), 1, b"x"))
    except PeerLost:
        return False


def test_a_key_goes_to_memory_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is opened for writing while a certificate is put to use would be seen here."""
    key = OwnKey.new()
    issued = build.issued(AUTHORITY, HOLDER, key=key)
    for owner, name in ((builtins, "open"), (io, "open"), (os, "open")):
        monkeypatch.setattr(owner, name, refuse)
    assert key.with_certificate(issued).holder == HOLDER


def refuse(*told: object, **more: object) -> Any:
    raise AssertionError("nothing is opened")


def test_the_memory_that_a_key_went_to_is_given_back() -> None:
    """With every renewal one more would have stayed open."""
    key = OwnKey.new()
    assert key.with_certificate(build.issued(AUTHORITY, HOLDER, key=key)).holder == HOLDER
    assert not [each for each in open_files() if "certificate" in each]


def open_files() -> Iterator[str]:
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            yield os.readlink(f"/proc/self/fd/{descriptor}")
