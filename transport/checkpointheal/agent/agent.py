"""The sidecar: hear the trainer, tell the operator, do what is due.

Composition only. What to do is `duties`' answer; this file carries each duty out and looks again. It never ends because
of a transfer or a peer. Must not know torch.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Coroutine
from contextlib import AsyncExitStack

import aiohttp

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
    why_withdrawn,
)
from checkpointheal.agent.flaws import Flaws, flaw_of
from checkpointheal.agent.gateway_link import GatewayLink
from checkpointheal.agent.giving import Giving
from checkpointheal.agent.installed import torch_version
from checkpointheal.agent.keep import Keep
from checkpointheal.agent.passed import PassedSteps
from checkpointheal.agent.peer_door import PeerDoor, Peers
from checkpointheal.agent.peer_trust import ByCertificate, ByKey
from checkpointheal.agent.private_parts import PrivateParts
from checkpointheal.agent.remembered import Remembered
from checkpointheal.agent.rendezvous import Rendezvous
from checkpointheal.agent.settings import AgentSettings
from checkpointheal.agent.shelf import Shelf
from checkpointheal.agent.taking import Taking
from checkpointheal.agent.tls import Papers
from checkpointheal.agent.trainer_door import TrainerDoor
from checkpointheal.agent.trainer_seen import TrainerSeen
from checkpointheal.agent.transfers import Transfers
from checkpointheal.arena import Arena
from checkpointheal.contract import trainer as words
from checkpointheal.contract.gateway import MANY, AgentReport, Assignment, Flaw, Orders
from checkpointheal.contract.identity import Endpoint
from checkpointheal.errors import CheckpointHealError

log = logging.getLogger("checkpointheal.agent")

NO_CERTIFICATE = "NoCertificate"
CERTIFIED_WITHIN = 15.0
"""Seconds that a first certificate may take."""
_NO_CERTIFICATE_TOLD = "the gateway has given its agent no certificate: it can neither give nor take a state"


class Agent:
    """One seat's. `run()` returns only when cancelled."""

    def __init__(self, settings: AgentSettings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._start, self._started = uuid.uuid4().hex, time.time()
        self._sequence = 0
        self._orders = Orders(revision=0)
        self._answered = ""
        self._explained: ExplainWait | None = None
        self._endpoint: Endpoint | None = None
        self._fetching: tuple[Assignment, asyncio.Task[None]] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._arena = Arena.create(settings.arena, slots=settings.slots)
        self._remembered = Remembered(settings.arena)
        self._seen = TrainerSeen(self._remembered)
        self._flaws = Flaws(time.monotonic)
        self._began = time.monotonic()
        self._keep = Keep()
        self._passed = PassedSteps()
        self._access = GatewayAccess(settings)
        self._link = GatewayLink(session, settings.gateway, self._access, settings.local_rank)
        self._certificates = ByCertificate()
        trust = self._certificates if settings.certified else ByKey(settings.peer_key)
        self._peers = Peers(session, trust)
        self._transfers = Transfers()
        self._untidy = False
        self._private = PrivateParts(settings.member, self._arena, self._peers, self._private_kept)
        self._shelf = Shelf(self._arena, self._look_again, self._flaws)
        self._giving = Giving(settings, self._shelf, self._transfers, self._link.changed)
        self._taking = Taking(settings, self._peers, self._transfers, self._link.changed)
        rehearsing = Taking(settings, self._peers, self._transfers, self._link.changed)
        self._drilling = Drilling(settings.pod_uid, rehearsing, self._giving)
        self._peer_door = PeerDoor(trust, self._keep, settings.private_limit)
        self._peer_door.named_steps = lambda: self._orders.keep_steps
        self._peer_door.answer_ask = self._giving.answer
        self._giving.expect = self._peer_door.expect
        self._giving.papers = self._taking.papers = rehearsing.papers = self._papers
        self._rendezvous = Rendezvous(settings.pod_uid, lambda: self._orders.epoch)
        self._peer_door.answer_store = self._rendezvous.board.answer
        self._trainer_door = TrainerDoor(settings.arena, self._hear, self._trainer_left)

    async def run(self) -> None:
        """Open both doors and serve until cancelled."""
        async with AsyncExitStack() as stack:
            stack.callback(self._transfers.close)
            stack.callback(self._drilling.close)
            stack.callback(self._shelf.close)
            stack.push_async_callback(self._peer_door.close)
            stack.push_async_callback(self._trainer_door.close)
            self._endpoint = await self._peer_door.open(self._settings.host, self._settings.port)
            await self._trainer_door.open()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._shelf.digest_forever())
                tasks.create_task(self._link.report_forever(self.report, self._settings.report_every))
                tasks.create_task(self._link.follow_orders(self._take_orders))
                tasks.create_task(self._transfers.warm_up())
                if self._settings.certified:
                    tasks.create_task(Renewal(self._settings.pod_uid, self._link.certificate, self._certified).run())

    def report(self) -> AgentReport:
        """The whole truth, now."""
        if self._endpoint is None:
            raise RuntimeError("the peer door is opened before the first report")
        self._sequence += 1
        flaws = self._standing_flaws()
        return AgentReport(
            job=self._settings.job,
            member=self._settings.member,
            pod=self._settings.pod,
            pod_uid=self._settings.pod_uid,
            local_ranks=self._settings.local_ranks,
            agent=self._start,
            started=self._started,
            sequence=self._sequence,
            endpoint=self._endpoint,
            build=self._seen.build,
            torch=torch_version(),
            certified=self._settings.certified,
            trainer=self._seen.facts,
            generations=self._shelf.generations(self._private_steps()),
            passed=self._passed.steps,
            private_held=self._keep.held(),
            private_own=tuple(sorted(self._private_steps())[-MANY:]),
            behind=self._seen.behind,
            transfer=self._taking.facts,
            drills=True,
            drill=self._drilling.facts,
            serving=self._giving.serving,
            attempt_seen=self._remembered.numbers.attempt,
            epoch_seen=self._remembered.numbers.epoch_answered,
            answered=self._answered,
            conditions=tuple(flaw.reason for flaw in flaws),
            flaws=flaws,
        )

    def _standing_flaws(self) -> tuple[Flaw, ...]:
        flaws = list(self._flaws.standing())
        if self._orders.withdrawn:
            reason, message = why_withdrawn(self._orders)
            flaws.append(Flaw(reason=reason, message=message))
        if (not_kept := self._private.flaw) is not None:
            flaws.append(not_kept)
        if not self._certificates.ready and self._settings.certified and self._is_settled():
            flaws.append(Flaw(reason=NO_CERTIFICATE, message=_NO_CERTIFICATE_TOLD))
        return tuple(sorted(flaws, key=lambda flaw: flaw.reason))

    def _is_settled(self) -> bool:
        return time.monotonic() >= self._began + CERTIFIED_WITHIN

    async def _certified(self, credentials: Credentials, roots: str) -> None:
        self._access.believe(roots)
        self._certificates.credentials = credentials
        await self._peer_door.listen(credentials.server)
        self._link.changed()

    def _papers(self) -> Papers | None:
        shown = self._certificates.credentials
        return None if shown is None else shown.papers

    def _take_orders(self, orders: Orders) -> None:
        known = {each.pod_uid for each in self._orders.buddies}
        if new := [each for each in orders.buddies if each.pod_uid not in known]:
            self._begin(self._private.hand_on(new))
        self._orders = orders
        self._passed.want(orders.epoch)
        self._answered = orders.question or self._answered
        self._begin(self._giving.take_grants(orders.grants))
        self._look_again()

    def _look_again(self) -> None:
        """A fault of the arena (a full disk, a stranger's file) delays what is due; it must not end the agent."""
        self._link.changed()
        self._passed.see(self._shelf.generations(frozenset()))
        self._drilling.follow(self._seen.facts, self._orders)
        try:
            for duty in duties(self._sight(), self._orders):
                self._do(duty)
            self._flaws.over("duties")
        except (CheckpointHealError, OSError) as error:
            log.error("what is due cannot be done now: %s", error)
            self._flaws.found("duties", flaw_of(error))

    def _sight(self) -> Sight:
        return Sight(
            trainer=self._seen.facts,
            epoch_answered=self._remembered.numbers.epoch_answered,
            epoch_told_over=self._seen.told_over,
            epoch_told_to_leave=self._seen.told_to_leave,
            attempt_seen=self._remembered.numbers.attempt,
            slots=self._shelf.identities(0 if self._orders.epoch is None else self._orders.epoch.missed_since),
            private_steps=self._private_steps(),
            fetching=self._fetching[0] if self._fetching else None,
            fetching_private=self._private.fetching,
            explained=self._explained,
            held=self._seen.held,
        )

    def _do(self, duty: Duty) -> None:
        match duty:
            case Answer():
                self._answer(duty)
            case EndTrainer(order):
                self._seen.told_over = order.epoch
                self._trainer_door.say(
                    "trainer",
                    words.EpochOver(
                        epoch=order.epoch, reason=order.reason, message=order.message, deadline=order.deadline
                    ),
                )
            case LetLeave(order):
                self._seen.told_to_leave = order.epoch
                said = words.LeaveEpoch(epoch=order.epoch, reason=order.reason, message=order.message)
                self._trainer_door.say("trainer", said)
            case KillTrainer(incarnation, reason):
                self._trainer_door.say("run", words.EndTrainer(incarnation=incarnation, reason=reason))
            case Fetch(assignment):
                self._remembered.grow(attempt=assignment.attempt)
                self._fetching = (assignment, self._begin(self._fetch(assignment)))
            case StopFetch():
                self._stop_fetch()
            case ExplainWait():
                self._explain(duty)
            case FetchPrivate():
                self._begin(self._then_look(self._private.fetch(duty.step, duty.holders)))

    def _answer(self, duty: Answer) -> None:
        """Everything of a future that will not come goes first: it must never be offered again."""
        step = duty.order.step
        for slot, seal in self._arena.seals().items():
            if step is None or seal.step > step or seal.epoch < duty.order.missed_since:
                self._arena.discard(slot)
        self._arena.keep_private([kept for kept in self._arena.private_steps() if step is not None and kept <= step])
        self._keep.forget_after(step)
        self._shelf.look()
        self._remembered.grow(epoch_answered=duty.order.epoch)
        self._trainer_door.say(
            "trainer",
            words.Restored(
                request=self._seen.waiting_request,
                epoch=duty.order.epoch,
                step=step,
                highest=duty.order.highest,
                rung=duty.order.rung,
                slot=duty.slot,
                state_digest=duty.identity.state_digest if duty.identity else None,
                private_begins=duty.order.private_begins,
                private_step=duty.order.private_step,
                rendezvous=True,
                members=duty.order.members,
                left_out=len(duty.order.left_out),
                place=duty.order.place,
                word_within=duty.order.word_within,
                reason=duty.order.reason,
                message=duty.order.message,
            ),
        )

    async def _meet(self, said: words.StoreAsk) -> None:
        self._trainer_door.say("trainer", await self._rendezvous.ask(said, self._peers.ask_store))

    def _explain(self, duty: ExplainWait) -> None:
        request = self._seen.waiting_request
        told = words.Waiting(request=request, reason=duty.reason, message=duty.message, hold=duty.hold)
        if self._trainer_door.say("trainer", told):
            self._explained = duty

    async def _fetch(self, assignment: Assignment) -> None:
        epoch = self._orders.epoch.epoch if self._orders.epoch else 0
        try:
            async with asyncio.timeout(assignment.deadline):
                await self._taking.fetch(assignment, epoch)
        except (TimeoutError, asyncio.CancelledError):
            self._taking.abandoned()
        self._fetching = None
        self._shelf.look()
        self._look_again()

    def _stop_fetch(self) -> None:
        if self._fetching is not None:
            self._fetching[1].cancel()
            self._fetching = None

    async def _then_look(self, work: Coroutine[None, None, None]) -> None:
        await work
        self._look_again()

    async def _hear(self, hello: words.Hello, said: words.TrainerSays) -> None:
        self._seen.hear(hello, said)
        match said:
            case words.Hello(role="trainer"):
                self._flaws.over("commit")
                if said.epoch == 0:
                    self._shelf.doubt()
            case words.Reserve():
                await self._reserve(said)
            case words.PrivateReady():
                self._begin(self._private.hand_over(said.step, self._orders.buddies))
                self._shelf.look()  # of what is kept on demand the trainer has let the last one go, and seals none
                self._tidy()
            case words.StoreAsk():
                self._begin(self._meet(said))
                return
            case words.Unkept():
                self._flaws.found("commit", Flaw(reason=said.reason, message=said.message))
            case words.Sealed():
                self._flaws.over("commit")
                self._passed.signals(self._seen.facts.epoch, said.step, said.signals)
                self._shelf.look()
                self._tidy()
            case _:
                pass
        self._look_again()

    def _tidy(self) -> None:
        """Private parts that nobody can need any more go. Where one stays, training goes on all the same."""
        try:
            needed = {seal.step for seal in self._arena.seals().values()}
            if self._orders.epoch is not None and self._orders.epoch.private_step is not None:
                needed.add(self._orders.epoch.private_step)  # the epoch's own step may be gone back to again
            self._arena.keep_private(sorted({*sorted(self._arena.private_steps())[-3:], *needed}))
        except CheckpointHealError as error:
            if not self._untidy:
                log.warning("old private parts stay: %s", error)
            self._untidy = True

    async def _reserve(self, said: words.Reserve) -> None:
        try:
            await asyncio.to_thread(self._arena.reserve, said.slot_bytes)
        except (CheckpointHealError, OSError) as error:
            flaw = flaw_of(error)
            log.warning("no slots for the trainer: %s: %s", flaw.reason, flaw.message)
            self._flaws.found("slots", flaw)
            refused = words.Refused(reason=flaw.reason, message=flaw.message, protocol=words.TRAINER_PROTOCOL)
            self._trainer_door.say("trainer", refused)
        else:
            self._flaws.over("slots")
            self._trainer_door.say("trainer", words.Reserved(protocol=words.TRAINER_PROTOCOL))

    def _private_kept(self, step: int, buddies: int) -> None:
        self._trainer_door.say("trainer", words.PrivateKept(step=step, buddies=buddies))

    def _trainer_left(self, hello: words.Hello) -> None:
        """It may have sealed a generation in its last moment and not said so."""
        self._seen.leave(hello)
        self._shelf.look()
        self._look_again()

    def _private_steps(self) -> frozenset[int]:
        return frozenset(self._arena.private_steps())

    def _begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
