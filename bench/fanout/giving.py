"""What are a donor's agent and its recipients' ordered, and what crossed?

In the operator's place: it begins the donor's epoch, and assigns every recipient the newest state that the donor's
agent has digested, anew as soon as all have had their fill. Must not know HTTP, nor where the agents are.
"""

import asyncio
import time
from collections.abc import Callable

from bench.fanout.crew import DONOR, RECIPIENTS
from checkpointheal.agent.agreed import TLS
from checkpointheal.contract.layout import Identity
from checkpointheal.contract.orders import Assignment, EpochOrder, Orders, Peer
from checkpointheal.contract.report import AgentReport, TransferFacts
from checkpointheal_operator.gateway.hub import Hub

JOB, HOST = "fanout", "127.0.0.1"
DEADLINE = 120.0
ASKING, MOVING, OVER = "asking", "receiving", ("verified", "failed")


def uid_of(replica: int) -> str:
    """Its pod's."""
    return f"uid-{replica}"


class Giving:
    """One donor's."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self.hub = Hub(time.time, self._news.set)
        self._revision, self._attempt = 0, 0
        self._given = -1
        """Of which step; nobody is given the same state twice, for nothing of it would cross."""
        self._crossed: dict[tuple[str, int], TransferFacts] = {}

    async def once(self, true: Callable[[], object]) -> None:
        """Wait until the agents' reports say so."""
        while not true():
            self._news.clear()
            await self._news.wait()

    def is_ready(self, replica: int) -> bool:
        """Whether it can give and take."""
        return (report := self._report(replica)) is not None and report.certified is True

    def order(self, *assigned: Assignment) -> None:
        """The donor trains, and gives each recipient what that one is assigned."""
        self._revision += 1
        epoch = EpochOrder(epoch=1, over=False)
        orders = {uid_of(DONOR): Orders(revision=self._revision, epoch=epoch, grants=assigned)}
        mine = {each.recipient.pod_uid: each for each in assigned}
        for uid in map(uid_of, RECIPIENTS):
            orders[uid] = Orders(revision=self._revision, assignment=mine.get(uid))
        self.hub.order(orders)

    async def give(self, cap: int | None, begun: asyncio.Event) -> None:
        """One round after the other, until cancelled. `cap`: bytes a second, for each recipient."""
        while True:
            await self.once(self._newest)
            self._give_next(cap)
            await self.once(lambda: self._are(MOVING, *OVER))
            begun.set()
            await self.once(lambda: self._are(*OVER))

    async def end(self) -> tuple[int, int]:
        """Bytes and whole states since the last end, once nobody gives any more."""
        # Who has not heard of its assignment yet would say nothing of its end either.
        await self.once(lambda: self._are(ASKING, MOVING, *OVER))
        self.order()
        await self.once(lambda: self._are(*OVER) and not self._gives())
        facts, self._crossed = self._crossed.values(), {}
        return sum(each.bytes for each in facts), sum(each.state == "verified" for each in facts)

    def _are(self, *states: str) -> bool:
        """Whether every recipient's part of the latest round is in one of these."""
        told = [report.transfer for each in RECIPIENTS if (report := self._report(each)) and report.transfer]
        current = [each for each in told if each.attempt == self._attempt]
        self._crossed |= {(each.heal, each.attempt): each for each in current}
        return sum(each.state in states for each in current) == len(RECIPIENTS)

    def _gives(self) -> bool:
        donor = self._report(DONOR)
        return donor is not None and bool(donor.serving)

    def _newest(self) -> Identity | None:
        """Of what the donor's agent offers, and nobody has received yet."""
        donor = self._report(DONOR)
        offered = [each.identity for each in donor.generations if each.identity] if donor else []
        newest = max(offered, key=lambda each: each.step, default=None)
        return newest if newest is not None and newest.step > self._given else None

    def _give_next(self, cap: int | None) -> None:
        if (identity := self._newest()) is None:
            raise LookupError("nothing is offered")
        self._attempt, self._given = self._attempt + 1, identity.step
        terms = {"attempt": self._attempt, "deadline": DEADLINE, "bytes_per_second": cap, "channel": TLS}
        donor, recipients = self._peer(DONOR), [(each, self._peer(each)) for each in RECIPIENTS]
        self.order(
            *(
                Assignment(
                    heal=f"heal-{number}-{self._attempt}", recipient=each, donors=(donor,), **terms, **dict(identity)
                )
                for number, each in recipients
            )
        )

    def _peer(self, replica: int) -> Peer:
        report = self._report(replica)
        if report is None:
            raise LookupError(f"agent {replica} has said nothing")
        return Peer(member=report.member, pod=report.pod, pod_uid=report.pod_uid, endpoint=report.endpoint)

    def _report(self, replica: int) -> AgentReport | None:
        heard = self.hub.heard_of(uid_of(replica))
        return heard.report if heard else None
