"""The donor's side of the agent: may this recipient have that state, and where do they meet?

What counts is the operator's grant, not the peer's claim. Training goes on meanwhile: only the slot is pinned, and only
until the deadline, and the transfer stands back behind it.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing

from checkpointheal.agent.agreed import TLS, disagreement
from checkpointheal.agent.errand import Errand, Failed, Meeting, Secured
from checkpointheal.agent.porter import Arrival
from checkpointheal.agent.settings import AgentSettings
from checkpointheal.agent.shelf import Shelf
from checkpointheal.agent.tls import Papers
from checkpointheal.agent.transfers import Transfers
from checkpointheal.arena import room
from checkpointheal.contract.log_lines import about
from checkpointheal.contract.orders import Assignment, Drill
from checkpointheal.contract.peer import Ask, Meet, No
from checkpointheal.errors import NoRoomForDrill

log = logging.getLogger("checkpointheal.agent")

GRANT_SECONDS = 3.0
"""The recipient may hear of its assignment before the donor hears of its grant."""
DRILL_BYTES = 128 << 20
"""What one side of a drill may take: a process, and the chunks that are under way."""


class Giving:
    """Everything that this agent gives at the moment."""

    def __init__(
        self,
        settings: AgentSettings,
        shelf: Shelf,
        transfers: Transfers,
        changed: Callable[[], None],
        *,
        papers: Callable[[], Papers | None] = lambda: None,
        is_training: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_training`: a transfer stands back behind the trainer."""
        self._settings, self._shelf, self._transfers, self._changed = settings, shelf, transfers, changed
        self._grants: dict[tuple[str, int], Assignment] = {}
        self._drill: Drill | None = None
        self._granted = asyncio.Condition()
        self._serving: dict[str, asyncio.Task[None]] = {}
        self.papers, self.is_training = papers, is_training
        self.expect: Callable[[], Arrival] | None = None

    @property
    def serving(self) -> tuple[str, ...]:
        """Heals that bytes are being sent for."""
        return tuple(sorted(self._serving))

    async def take_grants(self, grants: tuple[Assignment, ...]) -> None:
        """The operator's grants as they stand; a transfer whose grant is gone is ended."""
        async with self._granted:
            self._grants = {(grant.heal, grant.attempt): grant for grant in grants}
            self._granted.notify_all()
        self._end_others()

    async def take_drill(self, drill: Drill | None) -> None:
        """The drill that this agent gives its state for, if any; another one is ended."""
        async with self._granted:
            self._drill = drill
            self._granted.notify_all()
        self._end_others()

    def _end_others(self) -> None:
        """Whatever no grant, nor the drill, is about."""
        granted = {heal for heal, _ in self._grants} | ({self._drill.heal} if self._drill else set())
        for heal, task in list(self._serving.items()):
            if heal not in granted:
                task.cancel()

    async def answer(self, ask: Ask) -> Meet | No:
        """Meet the recipient, or say why not."""
        grant = await self._grant_for(ask)
        if grant is None:
            return No(reason="NoGrant", message=f"no assignment of {ask.heal} attempt {ask.attempt} names this donor")
        papers = self.papers() if grant.channel == TLS else None
        if (no := disagreement(grant.channel, ask.channel, papers)) is not None:
            return no
        slot = self._shelf.slot_of(ask.identity)
        if isinstance(grant, Drill):
            if (lacking := no_room()) is not None:
                return lacking
        elif slot is None:
            return No(
                reason="NotUpToDate",
                message=f"no sealed generation of step {ask.step} with that digest lies here any more",
            )
        if (earlier := self._serving.pop(ask.heal, None)) is not None:
            earlier.cancel()
        meeting: asyncio.Future[Meet | No] = asyncio.get_running_loop().create_future()
        arrival = self.expect() if papers is not None and self.expect is not None else None
        errand = self._errand(grant, slot, papers)
        task = asyncio.create_task(self._serve(errand, meeting, arrival))
        self._serving[ask.heal] = task
        task.add_done_callback(lambda done: self._served(ask.heal, done, meeting))
        if arrival is not None:
            task.add_done_callback(lambda _: arrival.close())
        self._changed()
        return await meeting

    async def _grant_for(self, ask: Ask) -> Assignment | None:
        def found() -> Assignment | None:
            drill = self._drill if self._drill and self._drill.heal == ask.heal else None
            grant = self._grants.get((ask.heal, ask.attempt), drill)
            return grant if grant is not None and grant.recipient.pod_uid == ask.recipient_uid else None

        async with self._granted:
            try:
                async with asyncio.timeout(GRANT_SECONDS):
                    await self._granted.wait_for(lambda: found() is not None)
            except TimeoutError:
                return None
            return found()

    def _errand(self, grant: Assignment, slot: int | None, papers: Papers | None) -> Errand:
        return Errand(
            side="donor",
            arena=self._settings.arena,
            job=self._settings.job,
            member=self._settings.member,
            heal=grant.heal,
            attempt=grant.attempt,
            epoch=0,
            identity=grant.identity,
            host=self._settings.host,
            prefix=f"{grant.heal}/{grant.attempt}",
            slot=slot,
            slots=self._settings.slots,
            deadline=grant.deadline,
            bytes_per_second=grant.bytes_per_second,
            drill=isinstance(grant, Drill),
            stands_back=isinstance(grant, Drill) or self.is_training(),
            secured=None if papers is None else Secured(papers=papers, peer_uid=grant.recipient.pod_uid),
        )

    async def _serve(self, errand: Errand, meeting: asyncio.Future[Meet | No], arrival: Arrival | None) -> None:
        outcome = "ended by its deadline"
        try:
            async with asyncio.timeout(errand.deadline), aclosing(self._transfers.run(errand, arrival)) as words:
                async for said in words:
                    if isinstance(said, Meeting) and not meeting.done():
                        meeting.set_result(_meet(errand, said, arrival))
                    outcome = f"{said.reason}: {said.message}" if isinstance(said, Failed) else said.say
        except TimeoutError:
            pass
        finally:
            facts = about(heal=errand.heal, attempt=errand.attempt)
            log.info("gave step %d: %s", errand.identity.step, outcome, extra=facts)

    def _served(self, heal: str, task: asyncio.Task[None], meeting: asyncio.Future[Meet | No]) -> None:
        """Also for a task that was called off before its first step: who asked must not wait for nothing."""
        if not meeting.done():
            meeting.set_result(No(reason="DonorFailed", message=f"the transfer of {heal} ended before it began"))
        if self._serving.get(heal) is task:
            del self._serving[heal]
        self._changed()


def no_room() -> No | None:
    """Why no side of a drill is to be begun here; None where there is memory for it."""
    left = room.memory_left()
    if left >= DRILL_BYTES:
        return None
    message = f"a drill needs {DRILL_BYTES} bytes of memory beside the arena, and the agent has {left} to spare"
    return No(reason=NoRoomForDrill.__name__, message=message)


def _meet(errand: Errand, said: Meeting, arrival: Arrival | None) -> Meet:
    if arrival is None:
        return Meet(store_port=said.store_port, prefix=errand.prefix, total=0)
    return Meet(channel=TLS, ticket=arrival.ticket, prefix=errand.prefix, total=0)
