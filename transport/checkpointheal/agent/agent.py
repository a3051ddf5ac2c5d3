"""The sidecar: hear the trainer, tell the operator, do what is due.

Composition only. What to do is `duties`' answer; this file hands each duty to the room that carries it out, and looks
again. It never ends because of a transfer or a peer. Must not know torch.
"""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import assert_never

import aiohttp

from checkpointheal.agent.again import Again
from checkpointheal.agent.background import Background
from checkpointheal.agent.credentials import Credentials, GatewayAccess, Renewal
from checkpointheal.agent.drilling import Drilling
from checkpointheal.agent.duties import (
    Answer,
    Duty,
    EndTrainer,
    ExplainWait,
    Fetch,
    FetchPrivate,
    KillTrainer,
    LetLeave,
    Sight,
    StopFetch,
    duties,
)
from checkpointheal.agent.fetching import Fetching
from checkpointheal.agent.flaws import Flaws
from checkpointheal.agent.gateway_link import GatewayLink
from checkpointheal.agent.giving import Giving
from checkpointheal.agent.keep import Keep
from checkpointheal.agent.passed import PassedSteps
from checkpointheal.agent.peer_door import PeerDoor, Peers
from checkpointheal.agent.peer_trust import ByCertificate, ByKey
from checkpointheal.agent.private_parts import PrivateParts
from checkpointheal.agent.remembered import Remembered
from checkpointheal.agent.rendezvous import Rendezvous
from checkpointheal.agent.reporting import Reporting
from checkpointheal.agent.settings import AgentSettings
from checkpointheal.agent.shelf import Shelf
from checkpointheal.agent.taking import Taking
from checkpointheal.agent.trainer_door import TrainerDoor
from checkpointheal.agent.trainer_seen import TrainerSeen
from checkpointheal.agent.trainer_told import TrainerTold
from checkpointheal.agent.transfers import Transfers
from checkpointheal.agent.unprotected import Unprotected
from checkpointheal.agent.upkeep import Upkeep
from checkpointheal.arena import Arena
from checkpointheal.contract import trainer as words
from checkpointheal.contract.orders import NOT_KNOWN, Orders
from checkpointheal.contract.report import Flaw
from checkpointheal.errors import CheckpointHealError


class Agent:
    """One seat's. `run()` returns only when cancelled."""

    def __init__(self, settings: AgentSettings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._orders = Orders(revision=NOT_KNOWN)
        self._background = Background()
        self._arena = Arena.create(settings.arena, slots=settings.slots)
        self._remembered = Remembered(settings.arena)
        self._seen = TrainerSeen(self._remembered)
        self._flaws = Flaws(time.monotonic)
        self._again = Again(self._look_again, self._flaws)
        keep = Keep()
        self._passed = PassedSteps()
        self._access = GatewayAccess(settings)
        self._link = GatewayLink(session, settings.gateway, self._access, settings.local_rank)
        self._certificates = ByCertificate()
        trust = self._certificates if settings.certified else ByKey(settings.peer_key)
        self._peers = Peers(session, trust)
        self._transfers = Transfers()
        self._trainer_door = TrainerDoor(settings.arena, self._hear, self._trainer_left)
        self._told = TrainerTold(self._trainer_door, self._seen)
        self._private = PrivateParts(settings.member, self._arena, self._peers, self._told.private_kept)
        self._shelf = Shelf(self._arena, self._look_again, self._flaws)
        self._upkeep = Upkeep(self._arena, self._shelf, keep, self._flaws)
        papers = self._certificates.papers
        self._giving = Giving(
            settings,
            self._shelf,
            self._transfers,
            self._link.changed,
            papers=papers,
            is_training=lambda: self._seen.facts.state == "training",
        )
        taking = Taking(settings, self._peers, self._transfers, self._link.changed, papers)
        rehearsing = Taking(settings, self._peers, self._transfers, self._link.changed, papers)
        self._fetching = Fetching(taking, self._background, lambda: self._orders.epoch, self._look_at_all)
        self._drilling = Drilling(settings.pod_uid, rehearsing, self._giving)
        self._rendezvous = Rendezvous(settings.pod_uid, lambda: self._orders)
        self._peer_door = PeerDoor(
            trust,
            keep,
            settings.private_limit,
            named_steps=lambda: self._orders.keep_steps,
            answer_ask=self._giving.answer,
            answer_store=self._rendezvous.board.answer,
        )
        self._giving.expect = self._peer_door.expect  # each of the two needs the other
        self._reporting = Reporting(
            settings=settings,
            seen=self._seen,
            remembered=self._remembered,
            shelf=self._shelf,
            upkeep=self._upkeep,
            keep=keep,
            passed=self._passed,
            taking=taking,
            giving=self._giving,
            drilling=self._drilling,
            unprotected=Unprotected(
                self._flaws, self._private, lambda: self._orders, self._certificates if settings.certified else None
            ),
        )

    async def run(self) -> None:
        """Open both doors and serve until cancelled."""
        async with AsyncExitStack() as stack:
            stack.callback(self._transfers.close)
            stack.callback(self._drilling.close)
            stack.callback(self._shelf.close)
            stack.callback(self._again.close)
            stack.push_async_callback(self._peer_door.close)
            stack.push_async_callback(self._trainer_door.close)
            self._reporting.endpoint = await self._peer_door.open(self._settings.host, self._settings.port)
            await self._trainer_door.open()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._shelf.digest_forever())
                tasks.create_task(self._link.report_forever(self._reporting.report, self._settings.report_every))
                tasks.create_task(self._link.follow_orders(self._take_orders))
                tasks.create_task(self._transfers.warm_up())
                if self._settings.certified:
                    tasks.create_task(Renewal(self._settings.pod_uid, self._link.certificate, self._certified).run())

    async def _certified(self, credentials: Credentials, roots: str) -> None:
        self._access.believe(roots)
        self._certificates.credentials = credentials
        await self._peer_door.listen(credentials.server)
        self._link.changed()

    def _take_orders(self, orders: Orders) -> None:
        if new := [each for each in orders.buddies if each not in self._orders.buddies]:
            self._background.begin(self._private.hand_on(new))
        self._orders = orders
        self._passed.want(orders.epoch)
        self._reporting.answered = orders.question or self._reporting.answered
        self._background.begin(self._giving.take_grants(orders.grants))
        self._look_again()

    def _look_at_all(self) -> None:
        self._shelf.look()
        self._look_again()

    def _look_again(self) -> None:
        """A fault of the arena (a full disk, a stranger's file) delays what is due; it must not end the agent."""
        self._link.changed()
        self._passed.see(self._shelf.generations(frozenset()))
        self._drilling.follow(self._seen.facts, self._orders)
        try:
            for duty in duties(self._sight(), self._orders):
                self._do(duty)
            self._again.done()
        except (CheckpointHealError, OSError) as error:
            self._again.failed(error)

    def _sight(self) -> Sight:
        return Sight(
            trainer=self._seen.facts,
            epoch_answered=self._remembered.numbers.epoch_answered,
            epoch_told_over=self._seen.told_over,
            epoch_told_to_leave=self._seen.told_to_leave,
            attempt_seen=self._remembered.numbers.attempt,
            slots=self._shelf.identities(0 if self._orders.epoch is None else self._orders.epoch.missed_since),
            private_steps=self._upkeep.private_steps,
            fetching=self._fetching.assignment,
            fetching_private=self._private.fetching,
            explained=self._told.explained,
            held=self._seen.held,
        )

    def _do(self, duty: Duty) -> None:
        match duty:
            case Answer(order):
                self._upkeep.drop_future(order)
                self._remembered.grow(epoch_answered=order.epoch)
                self._told.answer(duty)
            case EndTrainer(order):
                self._told.end(order)
            case LetLeave(order):
                self._told.let_leave(order)
            case KillTrainer():
                self._told.kill(duty)
            case Fetch(assignment):
                self._remembered.grow(attempt=assignment.attempt)
                self._fetching.begin(assignment)
            case StopFetch():
                self._fetching.stop()
            case ExplainWait():
                self._told.explain(duty)
            case FetchPrivate(step, holders):
                self._background.begin(self._then_look(self._private.fetch(step, holders)))
            case _:
                assert_never(duty)

    async def _then_look(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except (CheckpointHealError, OSError) as error:
            self._again.failed(error)
        else:
            self._look_again()

    async def _hear(self, hello: words.Hello, said: words.TrainerSays) -> None:
        self._seen.hear(hello, said)
        match said:
            case words.Hello(role="trainer"):
                self._flaws.over("commit")
                if said.epoch == 0:
                    self._shelf.doubt()
            case words.Reserve():
                self._told.slots(await self._upkeep.reserve(said.slot_bytes, said.part_bytes))
            case words.PrivateReady():
                self._background.begin(self._private.hand_over(said.step, self._orders.buddies))
                self._shelf.look()  # of what is kept on demand the trainer has let the last one go, and seals none
                self._upkeep.tidy(self._orders.epoch)
            case words.StoreAsk():
                self._background.begin(self._meet(said))
                return
            case words.Unkept():
                flaw = Flaw(reason=said.reason, message=said.message, arena_bytes=said.arena_bytes)
                self._flaws.found("commit", flaw)
                self._upkeep.tidy(self._orders.epoch)
            case words.Sealed():
                self._flaws.over("commit")
                self._passed.signals(self._seen.facts.epoch, said.step, said.signals)
                self._shelf.look()
                self._upkeep.tidy(self._orders.epoch)
            case _:
                pass
        self._look_again()

    async def _meet(self, said: words.StoreAsk) -> None:
        self._told.of_store(await self._rendezvous.ask(said, self._peers.ask_store))

    def _trainer_left(self, hello: words.Hello) -> None:
        """It may have sealed a generation in its last moment and not said so."""
        self._seen.leave(hello)
        self._look_at_all()
