"""Agents that know each other by certificates, over real TLS on loopback; and everybody who is not let in."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

import builders_agent as agents
import builders_trust as build
from checkpointheal.agent import tls
from checkpointheal.agent.credentials import Credentials, OwnKey
from checkpointheal.agent.keep import Keep
from checkpointheal.agent.peer_door import PeerDoor
from checkpointheal.contract.peer import Ask, Meet, No
from checkpointheal.contract.trust import pod_host
from checkpointheal.errors import CheckpointHealError, PeerLost, PeerRefused
from checkpointheal_operator.gateway.authority import Authority
from checkpointheal_operator.gateway.authority.terms import DAY

AUTHORITY = Authority.begin(build.GATEWAY, build.NOW - 9 * DAY)
DONOR, RECIPIENT = build.a_holder(0), build.a_holder(2)


def an_ask(**changes: object) -> Ask:
    return Ask(heal="heal-1", attempt=1, recipient_uid="uid-2", **dict(agents.STATE)).model_copy(update=changes)


async def meet(ask: Ask) -> Meet | No:
    return Meet(store_port=4711, prefix=f"{ask.heal}/{ask.attempt}", total=0)


def at_the_donor(visit: Callable[[build.Inside], Awaitable[None]]) -> None:
    """Run `visit` against a donor that meets whoever may ask."""

    async def story() -> None:
        async with build.an_agent(0, build.credentials(AUTHORITY, DONOR)) as donor:
            donor.door.answer_ask = meet
            await visit(donor)

    asyncio.run(story())


async def asks(donor: build.Inside, found: Credentials | None, **changes: object) -> Meet:
    async with build.a_guest(found) as guest:
        return await guest.ask(donor.peer, an_ask(**changes))


def test_the_recipient_meets_its_donor() -> None:
    async def visit(donor: build.Inside) -> None:
        assert (await asks(donor, build.credentials(AUTHORITY, RECIPIENT))).store_port == 4711

    at_the_donor(visit)


STRANGERS = {
    "of another job": lambda: build.credentials(AUTHORITY, build.a_holder(2, job="other")),
    "of a job of that name in another namespace": lambda: build.credentials(
        AUTHORITY, build.a_holder(2, namespace="other")
    ),
    "whose certificate is over": lambda: build.credentials(AUTHORITY, RECIPIENT, build.NOW - 2 * DAY),
    "whose certificate has not begun": lambda: build.credentials(AUTHORITY, RECIPIENT, build.NOW + 2 * DAY),
    "who made its own certificate": lambda: build.self_signed(AUTHORITY, RECIPIENT),
    "of another cluster": lambda: build.credentials(Authority.begin((), build.NOW), RECIPIENT),
    "without a certificate yet": lambda: None,
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_is_neither_answered_nor_kept_anything_for(stranger: str) -> None:
    async def visit(donor: build.Inside) -> None:
        donor.keep.put(RECIPIENT.member, 4, b"stream", ())
        found = STRANGERS[stranger]()
        with pytest.raises(CheckpointHealError):
            await asks(donor, found)
        async with build.a_guest(found) as guest:
            for work in (
                guest.put_private(donor.peer, RECIPIENT.member, 5, b"x"),
                guest.get_private(donor.peer, RECIPIENT.member, 4),
            ):
                try:
                    assert not await work
                except PeerLost:
                    continue
        assert [held.steps for held in donor.keep.held()] == [(4,)]

    at_the_donor(visit)


def bare(version: ssl.TLSVersion | None = None, served: Credentials | None = None) -> ssl.SSLContext:
    """A guest that verifies nobody: only what the donor demands of it counts."""
    context = served.client if served else build.unverified()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version is not None:
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, version
    return context


async def status_of(donor: build.Inside, context: ssl.SSLContext, scheme: str = "https") -> int:
    url = f"{scheme}://{donor.peer.endpoint}/v1/private/2/0/4"
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as answer:
        return answer.status


def test_only_tls_1_3_with_a_certificate_comes_in() -> None:
    async def visit(donor: build.Inside) -> None:
        certified = build.credentials(AUTHORITY, RECIPIENT)
        assert await status_of(donor, bare(served=certified)) == 404
        for context in (bare(), bare(ssl.TLSVersion.TLSv1_2, build.credentials(AUTHORITY, RECIPIENT))):
            with pytest.raises((aiohttp.ClientError, OSError)):
                await status_of(donor, context)
        with pytest.raises(aiohttp.ClientError):
            await status_of(donor, bare(served=certified), "http")

    at_the_donor(visit)


def test_the_gateways_own_certificate_is_nobodys_at_a_door() -> None:
    async def visit(donor: build.Inside) -> None:
        served = AUTHORITY.serve(build.NOW)
        posing = tls.client(AUTHORITY.trusted(build.NOW), served.chain, served.key)
        with pytest.raises(PeerLost):
            await asks(donor, Credentials(build.credentials(AUTHORITY, RECIPIENT).papers, posing, posing))

    at_the_donor(visit)


def test_a_donor_is_told_nothing_before_it_is_known_to_be_the_very_pod_that_was_named() -> None:
    """A pod of the same job that has the donor's address now, after one conversation with the right one."""

    async def visit(donor: build.Inside) -> None:
        async with build.a_guest(build.credentials(AUTHORITY, RECIPIENT)) as guest:
            await guest.ask(donor.peer, an_ask())
            other = donor.peer.model_copy(update={"pod_uid": "uid-9"})
            with pytest.raises(PeerLost):
                await guest.ask(other, an_ask())
            with pytest.raises(PeerLost):
                await guest.put_private(other, RECIPIENT.member, 5, b"stream")
        assert donor.keep.held() == ()

    at_the_donor(visit)


def test_a_donor_that_made_its_own_certificate_is_told_nothing() -> None:
    async def story() -> None:
        async with build.an_agent(0, build.self_signed(AUTHORITY, DONOR)) as pretender:
            pretender.door.answer_ask = meet
            with pytest.raises(PeerLost):
                await asks(pretender, build.credentials(AUTHORITY, RECIPIENT))

    asyncio.run(story())


def test_nobody_asks_in_anothers_name() -> None:
    async def visit(donor: build.Inside) -> None:
        with pytest.raises(PeerRefused, match="NotTheRecipient"):
            await asks(donor, build.credentials(AUTHORITY, build.a_holder(3)))

    at_the_donor(visit)


def test_a_member_leaves_and_fetches_its_own_parts_and_no_others() -> None:
    async def visit(donor: build.Inside) -> None:
        donor.keep.put(agents.a_member(3), 4, b"another's", ())
        async with build.a_guest(build.credentials(AUTHORITY, RECIPIENT)) as guest:
            assert await guest.put_private(donor.peer, RECIPIENT.member, 5, b"mine")
            assert await guest.get_private(donor.peer, RECIPIENT.member, 5) == b"mine"
            assert not await guest.put_private(donor.peer, agents.a_member(3), 4, b"forged")
            assert await guest.get_private(donor.peer, agents.a_member(3), 4) is None
        assert donor.keep.get(agents.a_member(3), 4) == b"another's"

    at_the_donor(visit)


def test_a_successor_of_the_pod_fetches_what_its_member_left() -> None:
    async def visit(donor: build.Inside) -> None:
        donor.keep.put(RECIPIENT.member, 4, b"stream", ())
        async with build.a_guest(build.credentials(AUTHORITY, build.a_holder(2, pod_uid="uid-later"))) as guest:
            assert await guest.get_private(donor.peer, RECIPIENT.member, 4) == b"stream"

    at_the_donor(visit)


def test_a_door_without_a_certificate_has_its_address_and_lets_nobody_in() -> None:
    async def story() -> None:
        async with build.an_agent(0, None) as waiting:
            waiting.door.answer_ask = meet
            with pytest.raises(PeerLost):
                await asks(waiting, build.credentials(AUTHORITY, RECIPIENT))
            await waiting.show(build.credentials(AUTHORITY, DONOR))
            assert await asks(waiting, build.credentials(AUTHORITY, RECIPIENT))

    asyncio.run(story())


def test_a_conversation_goes_on_while_the_door_takes_another_certificate() -> None:
    async def visit(donor: build.Inside) -> None:
        inside, answer = asyncio.Event(), asyncio.Event()

        async def slowly(ask: Ask) -> Meet | No:
            inside.set()
            await answer.wait()
            return await meet(ask)

        donor.door.answer_ask = slowly
        asking = asyncio.create_task(asks(donor, build.credentials(AUTHORITY, RECIPIENT)))
        await inside.wait()
        for _ in range(3):
            await donor.show(build.credentials(AUTHORITY, DONOR))
        answer.set()
        assert (await asking).store_port == 4711
        assert (await asks(donor, build.credentials(AUTHORITY, RECIPIENT))).store_port == 4711

    at_the_donor(visit)


def test_a_connection_that_is_kept_open_is_worth_nothing_once_its_certificate_is_over() -> None:
    async def story() -> None:
        now = [build.NOW]
        async with (
            build.an_agent(0, build.credentials(AUTHORITY, DONOR), lambda: now[0]) as donor,
            build.a_guest(build.credentials(AUTHORITY, RECIPIENT)) as guest,
        ):
            donor.door.answer_ask = meet
            assert await guest.ask(donor.peer, an_ask())
            now[0] += DAY + 1
            with pytest.raises(CheckpointHealError):
                await guest.ask(donor.peer, an_ask())

    asyncio.run(story())


def test_a_door_hands_out_no_ticket_for_coming_back_without_a_certificate() -> None:
    to_door, to_guest = ssl.MemoryBIO(), ssl.MemoryBIO()
    door = build.credentials(AUTHORITY, DONOR).server.wrap_bio(to_door, to_guest, server_side=True)
    guest = build.credentials(AUTHORITY, RECIPIENT).client.wrap_bio(
        to_guest, to_door, server_hostname=pod_host(DONOR.pod_uid)
    )
    for end in (guest, door, guest, door):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    door.write(b"come in")
    assert guest.read() == b"come in"
    assert guest.session is None or not guest.session.has_ticket


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_a_door_is_found_at_an_address_of_ipv6() -> None:
    async def story() -> None:
        trust = build.trusting(build.credentials(AUTHORITY, DONOR))
        door = PeerDoor(trust, Keep(), 1 << 20)
        door.answer_ask = meet
        endpoint = await door.open("::1", 0)
        try:
            await door.listen(trust.credentials.server)
            donor = agents.a_peer(0).model_copy(update={"endpoint": endpoint})
            async with build.a_guest(build.credentials(AUTHORITY, RECIPIENT)) as guest:
                assert (await guest.ask(donor, an_ask())).store_port == 4711
        finally:
            await door.close()

    asyncio.run(story())


def test_once_a_door_believes_other_roots_nobody_under_the_old_ones_comes_in() -> None:
    other = Authority.begin((), build.NOW)

    async def visit(donor: build.Inside) -> None:
        await donor.show(build.credentials(other, DONOR))
        for _ in range(9):
            assert await asks(donor, build.credentials(other, RECIPIENT))
            with pytest.raises(PeerLost):
                await asks(donor, build.credentials(AUTHORITY, RECIPIENT))

    at_the_donor(visit)


def test_a_guest_that_says_nothing_keeps_nobody_else_out() -> None:
    async def visit(donor: build.Inside) -> None:
        with socket.create_connection((donor.peer.endpoint.host, donor.peer.endpoint.port)):
            assert await asks(donor, build.credentials(AUTHORITY, RECIPIENT))

    at_the_donor(visit)


def test_a_certificate_for_another_key_cannot_be_used() -> None:
    with pytest.raises(OSError, match="KEY_VALUES_MISMATCH"):
        OwnKey.new().with_certificate(build.issued(AUTHORITY, RECIPIENT))
