"""A thousand agents, their trainers made up: what do they say to the gateway, and how long do they wait for an answer?

Each has a connection for reports and one for its long poll, over TLS, and reports as often as a real one does. A
trainer that is told to go on trains at once; one that ends waits again after the time in which a warm one starts.
"""

import asyncio
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import aiohttp

from bench.scale.crowd import Crowd
from builders_core import SCHEMA, digest_of
from checkpointheal.agent.settings import AgentSettings
from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.orders import Orders
from checkpointheal.contract.report import AgentReport, Generation, TrainerExit, TrainerFacts

RESTART_SECONDS = 0.5
REPORT_EVERY = float(AgentSettings.model_fields["report_every"].default)
STEP = 10
PATIENCE = aiohttp.ClientTimeout(total=60)
SIZE = 64 << 20


class Door(NamedTuple):
    """Where the gateway is, and who signs its certificate."""

    url: str
    tls: ssl.SSLContext


@dataclass
class Agent:
    """One of a pod's."""

    crowd: Crowd
    number: int
    epoch: int = 0
    request: int = 1
    state: str = "waiting"
    exit: TrainerExit | None = None
    sequence: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    said: dict[str, float] = field(default_factory=dict)
    """When it first said `absent` and `waiting` of its latest restart, before the report was sent."""
    heard: dict[str, float] = field(default_factory=dict)
    """When it first heard `over` of its latest epoch and `begun` of the next."""

    @property
    def uid(self) -> str:
        return f"uid-of-pod-{self.number}"

    @property
    def token(self) -> str:
        """What the API server knows it by."""
        return self.uid

    @property
    def member(self) -> MemberId:
        return MemberId(replica=self.crowd.replica(self.number))

    @property
    def incarnation(self) -> str:
        return f"trainer-{self.number}-{self.request}"

    def report(self) -> AgentReport:
        """What it says now."""
        self.sequence += 1
        trains = self.state == "training"
        return AgentReport(
            job=f"job-{self.crowd.job(self.number)}",
            member=self.member,
            pod=f"pod-{self.number}",
            pod_uid=self.uid,
            agent=f"agent-{self.number}",
            sequence=self.sequence,
            endpoint=Endpoint(host="127.0.0.1", port=7460),
            build="torch",
            trainer=TrainerFacts(
                state=self.state,
                incarnation=None if self.state == "absent" else self.incarnation,
                request=self.request,
                epoch=self.epoch,
                exit=self.exit,
                applied_seconds=0.2 if trains else None,
                rejoined_seconds=0.1 if trains else None,
            ),
            generations=tuple(self._generations()),
            epoch_seen=self.epoch,
        )

    def end(self, *, told: bool) -> None:
        """Its trainer ends; another one waits soon."""
        self.exit = TrainerExit(incarnation=self.incarnation, epoch=self.epoch, signal=9, told=told)
        self.state, self.said, self.heard = "absent", {"absent": time.monotonic()}, {}
        self.changed.set()
        asyncio.get_running_loop().call_later(RESTART_SECONDS, self._wait)

    def _wait(self) -> None:
        self.request += 1
        self.state, self.said["waiting"] = "waiting", time.monotonic()
        self.changed.set()

    def _generations(self) -> Iterator[Generation]:
        for step in (STEP, STEP - 1) if self.epoch else ():
            yield Generation(
                step=step, schema_digest=SCHEMA, state_digest=digest_of(0, step), bytes=SIZE, private=True, epoch=1
            )

    def take(self, orders: Orders) -> None:
        """Do as ordered."""
        epoch = orders.epoch
        if epoch is None:
            return
        if epoch.over and epoch.epoch == self.epoch:
            self.heard.setdefault("over", time.monotonic())
            if self.state == "training":
                self.end(told=True)
        elif not epoch.over and epoch.epoch > self.epoch and self.state == "waiting":
            self.heard["begun"] = time.monotonic()
            self.epoch, self.state = epoch.epoch, "training"
            self.changed.set()


class Agents:
    """All of a crowd's, at one gateway."""

    def __init__(self, crowd: Crowd, door: Door, kind: type[Agent] = Agent) -> None:
        self.all = [kind(crowd, number) for number in range(crowd.pods)]
        self._door = door
        self.refused = 0

    async def run(self) -> None:
        """Until cancelled."""
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=PATIENCE) as session,
            asyncio.TaskGroup() as tasks,
        ):
            for number, agent in enumerate(self.all):
                tasks.create_task(self._report(session, agent))
                tasks.create_task(self._follow(session, agent))
                if number % 25 == 24:
                    await asyncio.sleep(0.1)

    async def _report(self, session: aiohttp.ClientSession, agent: Agent) -> None:
        while True:
            agent.changed.clear()
            if await self._ask(session, agent, "POST", "/v1/report", agent.report().model_dump_json().encode()) is None:
                await asyncio.sleep(0.5)
                continue
            try:
                await asyncio.wait_for(agent.changed.wait(), REPORT_EVERY)
            except TimeoutError:
                continue

    async def _follow(self, session: aiohttp.ClientSession, agent: Agent) -> None:
        seen = -1
        while True:
            body = await self._ask(session, agent, "GET", f"/v1/orders?seen={seen}", None)
            if body is None:
                await asyncio.sleep(0.5)
                continue
            orders = Orders.model_validate_json(body)
            if orders.revision != seen:
                seen = orders.revision
                agent.take(orders)

    async def _ask(
        self, session: aiohttp.ClientSession, agent: Agent, method: str, path: str, body: bytes | None
    ) -> bytes | None:
        headers = {"Authorization": f"Bearer {agent.token}"}
        try:
            async with session.request(
                method, self._door.url + path, data=body, headers=headers, ssl=self._door.tls
            ) as answer:
                if answer.status == 200:
                    return await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        self.refused += 1
        return None
