"""How do a member's private parts reach its buddies, and come back?

Nobody else has them: another rank's random stream or data position would be wrong. Must not know what a part holds, nor
when it is due.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence

from checkpointheal.agent.peer_door import Peers
from checkpointheal.arena import Arena
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.orders import Peer
from checkpointheal.contract.report import Flaw
from checkpointheal.errors import CheckpointHealError

log = logging.getLogger("checkpointheal.agent")

NOT_KEPT = "PrivatePartNotKept"
NOT_KEPT_AFTER = 2
"""Steps in a row that no buddy took: one may be lost with the buddy that dies."""
RETRY_SECONDS = 0.5
"""Between two rounds over holders none of which had the part: one may be restarting."""


class PrivateParts:
    """One member's private parts on their way. `kept` hears, once a step, how many buddies have it so far."""

    def __init__(self, member: MemberId, arena: Arena, peers: Peers, kept: Callable[[int, int], None]) -> None:
        self._member, self._arena, self._peers, self._kept = member, arena, peers, kept
        self._not_taken: dict[int, str] = {}
        self.fetching: int | None = None

    @property
    def flaw(self) -> Flaw | None:
        """That no buddy keeps this member's private parts; None while one does, or may in a moment."""
        if len(self._not_taken) < NOT_KEPT_AFTER:
            return None
        step = max(self._not_taken)
        message = f"no buddy takes the private part of step {step}: {self._not_taken[step]}"
        return Flaw(reason=NOT_KEPT, message=message)

    async def hand_over(self, step: int, buddies: Sequence[Peer]) -> None:
        """Leave the part of a step with every buddy. The first that has it is enough to go on."""
        blob = self._arena.read_private(step)
        if blob is None:
            return
        if not buddies:
            self._kept(step, 0)
        told, refusals = False, list[str]()
        for leaving in asyncio.as_completed([self._leave(buddy, step, blob) for buddy in buddies]):
            if (refusal := await leaving) is not None:
                refusals.append(refusal)
            elif not told:
                told = True
                self._kept(step, 1)
        self._note(step, [] if told else refusals)

    def _note(self, step: int, refusals: list[str]) -> None:
        if refusals:
            self._not_taken = dict(sorted((self._not_taken | {step: "; ".join(refusals)}).items())[-NOT_KEPT_AFTER:])
        else:
            self._not_taken = {}

    async def hand_on(self, buddies: Sequence[Peer]) -> None:
        """Leave every part that is still here with buddies that are new: the ones before them took theirs along."""
        for step in sorted(self._arena.private_steps()):
            blob = self._arena.read_private(step)
            if blob is not None:
                await asyncio.gather(*(self._leave(buddy, step, blob) for buddy in buddies))

    def fetch(self, step: int, holders: Sequence[Peer]) -> Coroutine[None, None, None]:
        """Bring the part of a step back into the own arena; ends after one round over those who may hold it.

        Under way from this call on, not only from the coroutine's first step: nobody begins a second one in between.
        """
        self.fetching = step
        return self._fetch(step, holders)

    async def _fetch(self, step: int, holders: Sequence[Peer]) -> None:
        try:
            for holder in holders:
                blob = await self._take(holder, step)
                if blob is not None:
                    self._arena.write_private(step, blob)
                    return
            await asyncio.sleep(RETRY_SECONDS)
        finally:
            self.fetching = None

    async def _leave(self, buddy: Peer, step: int, blob: bytes) -> str | None:
        """None where it was taken, else why not."""
        try:
            taken = await self._peers.put_private(buddy, self._member, step, blob)
        except CheckpointHealError as error:
            log.info("a buddy does not take the private part of step %d: %s", step, error)
            return f"{buddy.member}: {error}"
        return None if taken else f"{buddy.member} refuses it"

    async def _take(self, holder: Peer, step: int) -> bytes | None:
        try:
            return await self._peers.get_private(holder, self._member, step)
        except CheckpointHealError as error:
            log.warning("the private part of step %d does not come back: %s", step, error)
            return None
