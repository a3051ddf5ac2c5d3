"""The recipient's side of the agent: carry one assignment out and say how far it got.

One attempt at a time, one donor per attempt: when it fails the operator hears why and chooses the next. What arrived
stays in the slot, so the next donor sends only the rest.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing

from checkpointheal.agent.agreed import TLS, disagreement
from checkpointheal.agent.errand import Ended, Errand, Failed, Progress, Secured
from checkpointheal.agent.peer_door import Peers
from checkpointheal.agent.settings import AgentSettings
from checkpointheal.agent.tls import Papers
from checkpointheal.agent.transfers import DIED, Transfers
from checkpointheal.contract.log_lines import Facts, about
from checkpointheal.contract.orders import Assignment, Drill
from checkpointheal.contract.peer import Ask, Meet
from checkpointheal.contract.report import DrillFacts, TransferFacts
from checkpointheal.errors import CheckpointHealError, Overdue

log = logging.getLogger("checkpointheal.agent")

CERTIFIED_WITHIN, LOOK_EVERY = 5.0, 0.05
WITHOUT_A_WORD = "the transfer ended without a word"


class Taking:
    """The latest assignment and its fate."""

    def __init__(
        self,
        settings: AgentSettings,
        peers: Peers,
        transfers: Transfers,
        changed: Callable[[], None],
        papers: Callable[[], Papers | None] = lambda: None,
    ) -> None:
        self._settings, self._peers, self._transfers, self._changed = settings, peers, transfers, changed
        self.papers = papers
        self.facts: TransferFacts | None = None

    async def fetch(self, assignment: Assignment, epoch: int) -> bool:
        """Receive the state; whether it lies verified and sealed in the arena. Never raises for a donor's fault."""
        donor = assignment.donors[0]
        self._say(_first_facts(assignment))
        what = (assignment.step, donor.member, donor.pod, assignment.channel)
        log.info("step %d is asked of %s in %s, over %s", *what, extra=self._about())
        papers = await self._shown() if assignment.channel == TLS else None
        if (no := disagreement(assignment.channel, assignment.channel, papers)) is not None:
            return self._failed(no.reason, no.message)
        try:
            meet = await self._peers.ask(donor, _ask(assignment))
        except CheckpointHealError as error:
            return self._failed(error.reason, str(error))
        if (no := disagreement(assignment.channel, meet.channel, papers)) is not None:
            return self._failed(no.reason, no.message)
        return await self._receive(self._errand(assignment, epoch, meet, papers))

    async def _shown(self) -> Papers | None:
        """An agent that is new may be assigned to before it is certified: a wait costs less than an attempt."""
        end = time.monotonic() + CERTIFIED_WITHIN
        while (papers := self.papers()) is None and time.monotonic() < end:
            await asyncio.sleep(LOOK_EVERY)
        return papers

    async def _receive(self, errand: Errand) -> bool:
        self._say_more(state="receiving")
        async with aclosing(self._transfers.run(errand)) as words:
            async for said in words:
                if isinstance(said, Ended | Failed):
                    return self._over(said)
                if isinstance(said, Progress):
                    self._say_more(bytes=said.bytes, total=said.total)
        return self._failed(DIED, WITHOUT_A_WORD)

    def refuse(self, assignment: Assignment, reason: str, message: str) -> None:
        """It is not even begun."""
        self._say(_first_facts(assignment))
        self._failed(reason, message)

    def abandoned(self, assignment: Assignment) -> None:
        """The attempt was called off."""
        self._ended(assignment, "Abandoned", "the operator called this attempt off")

    def overdue(self, assignment: Assignment) -> None:
        """The attempt took longer than it may, by this agent's own clock."""
        message = f"the transfer did not end within {assignment.deadline:.1f} s"
        self._ended(assignment, Overdue.__name__, message)

    def settle(self, assignment: Assignment) -> None:
        """Nothing carries the attempt out any more, whatever ended it."""
        self._ended(assignment, DIED, WITHOUT_A_WORD)

    def _ended(self, assignment: Assignment, reason: str, message: str) -> None:
        """It failed, unless its end was told; of another attempt that has begun since, nothing is said."""
        facts = self.facts
        if facts is None or (facts.heal, facts.attempt) != (assignment.heal, assignment.attempt):
            return
        if facts.state in ("asking", "receiving"):
            self._failed(reason, message)

    def _over(self, said: Ended | Failed) -> bool:
        if isinstance(said, Failed):
            return self._failed(said.reason, said.message)
        wanted = type(self.facts).model_fields if self.facts is not None else {}
        self._say_more(state="verified", **{name: value for name, value in said if name in wanted})
        log.info("the transfer is verified: %d of %d bytes crossed", said.bytes, said.total, extra=self._about())
        return True

    def _failed(self, reason: str, message: str) -> bool:
        self._say_more(state="failed", reason=reason, message=message)
        log.warning("the transfer failed: %s: %s", reason, message, extra=self._about(reason))
        return False

    def _about(self, reason: str = "") -> dict[str, Facts]:
        heal, attempt = (self.facts.heal, self.facts.attempt) if self.facts is not None else ("", None)
        return about(heal=heal, attempt=attempt, reason=reason)

    def _errand(self, assignment: Assignment, epoch: int, meet: Meet, papers: Papers | None) -> Errand:
        donor = assignment.donors[0]
        return Errand(
            side="recipient",
            arena=self._settings.arena,
            job=self._settings.job,
            member=self._settings.member,
            heal=assignment.heal,
            attempt=assignment.attempt,
            epoch=epoch,
            identity=assignment.identity,
            host=donor.endpoint.host,
            store_port=meet.store_port if papers is None else donor.endpoint.port,
            prefix=meet.prefix,
            slots=self._settings.slots,
            deadline=assignment.deadline,
            drill=isinstance(assignment, Drill),
            stands_back=isinstance(assignment, Drill),
            secured=papers and Secured(papers=papers, peer_uid=donor.pod_uid, ticket=meet.ticket),
        )

    def _say(self, facts: TransferFacts) -> None:
        self.facts = facts
        self._changed()

    def _say_more(self, **changes: object) -> None:
        if self.facts is not None:
            self._say(self.facts.but(**changes))


def _first_facts(assignment: Assignment) -> TransferFacts:
    kind = DrillFacts if isinstance(assignment, Drill) else TransferFacts
    return kind(heal=assignment.heal, attempt=assignment.attempt, state="asking", donor=assignment.donors[0].pod)


def _ask(assignment: Assignment) -> Ask:
    return Ask(
        heal=assignment.heal,
        attempt=assignment.attempt,
        recipient_uid=assignment.recipient.pod_uid,
        channel=assignment.channel,
        **assignment.identity.model_dump(),
    )
