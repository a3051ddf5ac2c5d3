"""The agents of a pod's seats, in their one process, under a gateway over TLS: each speaks and gives for itself."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import builders_agent as agents
import builders_transfer
import builders_trust as build
from checkpointheal.agent.__main__ import _serve
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.layout import Identity
from checkpointheal.contract.orders import Assignment, Orders, Peer
from checkpointheal.contract.report import AgentReport
from checkpointheal.contract.seats import Seats
from checkpointheal_operator.gateway.authority import Authority

AUTHORITY = Authority.begin(build.GATEWAY, build.NOW)
TWO = Seats(pod=MemberId(replica=0), count=2)


@contextlib.asynccontextmanager
async def two_pods(home: Path) -> AsyncIterator[build.Gateway]:
    """Pod 0 with two seats and pod 2 with one, each a process of its own as far as they know."""
    callers = {f"token-{each}": build.a_caller(build.a_holder(each)) for each in (0, 2)}
    callers["token-0"] = callers["token-0"]._replace(seats=TWO)
    async with build.a_gateway(AUTHORITY, **callers) as gateway:
        root = AUTHORITY.trusted(build.NOW)
        pod, other = (agents.injected_settings(home, each, gateway.url, root) for each in (0, 2))
        seated = tuple(pod.at(TWO, each) for each in range(2))
        processes = [asyncio.create_task(_serve(each)) for each in (seated, (other,))]
        try:
            yield gateway
        finally:
            for each in processes:
                each.cancel()
            await asyncio.gather(*processes, return_exceptions=True)


async def once(gateway: build.Gateway, uid: str, fits: Callable[[AgentReport], bool]) -> AgentReport:
    """The report of this seat's agent, once there is one that fits."""
    while True:
        report = next((each.report for each in gateway.hub.heard if each.report.pod_uid == uid), None)
        if report is not None and fits(report):
            return report
        await asyncio.sleep(0.02)


def peer_of(report: AgentReport) -> Peer:
    return Peer(member=report.member, pod=report.pod, pod_uid=report.pod_uid, endpoint=report.endpoint)


def an_assignment(attempt: int, donor: AgentReport, taker: AgentReport, identity: Identity) -> Assignment:
    return Assignment(
        heal="heal-1",
        attempt=attempt,
        recipient=peer_of(taker),
        donors=(peer_of(donor),),
        deadline=60,
        channel="tls",
        **dict(identity),
    )


async def outcome(gateway: build.Gateway, given: Assignment) -> str:
    """What became of it. Whose processes are still starting may not answer: then an operator tries again, as here."""
    (donor,), number = given.donors, given.attempt
    orders = {donor.pod_uid: Orders(revision=number, grants=(given,))}
    gateway.hub.order(orders | {given.recipient.pod_uid: Orders(revision=number, assignment=given)})

    def is_over(said: AgentReport) -> bool:
        facts = said.transfer
        return facts is not None and facts.attempt == number and facts.state in ("verified", "failed")

    done = await once(gateway, given.recipient.pod_uid, is_over)
    assert done.transfer is not None
    assert done.transfer.donor == donor.pod
    return done.transfer.state


def test_the_second_seat_of_a_pod_reports_is_certified_and_gives_its_own_state_over_tls(home: Path) -> None:
    identity, slot = builders_transfer.put(home / "arena-0" / "1", builders_transfer.a_state(20))

    async def story() -> None:
        async with two_pods(home) as gateway:
            first = await once(gateway, "uid-0", lambda _report: True)
            assert (str(first.member), first.pod, first.local_ranks) == ("0/0", "trainer-0/0", 2)
            assert first.generations == ()
            holds = await once(gateway, "uid-0.1", lambda said: any(g.identity == identity for g in said.generations))
            assert (str(holds.member), holds.pod) == ("1/0", "trainer-0/1")
            assert holds.endpoint != first.endpoint
            taker = await once(gateway, "uid-2", lambda _report: True)
            assert taker.local_ranks == 1
            for attempt in itertools.count(1):
                given = an_assignment(attempt, holds, taker, identity)
                if await outcome(gateway, given) == "verified":
                    break

    asyncio.run(story())
    assert builders_transfer.data_of(home / "arena-2", 0) == builders_transfer.data_of(home / "arena-0" / "1", slot)
