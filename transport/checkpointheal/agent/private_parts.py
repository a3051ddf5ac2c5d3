"""How do a member's private parts reach its buddies, and come back?

Nobody else has them: another rank's random stream or data position would be wrong. Must not know what a part holds, nor
when it is due.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence

from checkpointheal.agent.peer_door import Peers
from checkpointheal.arena import Arena
from checkpointheal.contract.gateway import Peer
from checkpointheal.contract.identity import MemberId
from checkpointheal.errors import CheckpointHealError

log = logging.getLogger("checkpointheal.agent")

RETRY_SECONDS = 0.5
"""Between two rounds over holders none of which had the part: one may be restarting."""


class PrivateParts:
    """One member's private parts on their way. `kept` hears, once a step, how many buddies have it so far."""

    def __init__(self, member: MemberId, arena: Arena, peers: Peers, kept: Callable[[int, int], None]) -> None:
        self._member, self._arena, self._peers, self._kept = member, arena, peers, kept
        self.fetching: int | None = None

    async def hand_over(self, step: int, buddies: Sequence[Peer]) -> None:
        """Leave the part of a step with every buddy. The first that has it is enough to go on."""
        blob = self._arena.read_private(step)
        if blob is None:
            return
        if not buddies:
            self._kept(step, 0)
        told = False
        for leaving in asyncio.as_completed([self._leave(buddy, step, blob) for buddy in buddies]):
            if await leaving and not told:
                told = True
                self._kept(step, 1)

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

    async def _leave(self, buddy: Peer, step: int, blob: bytes) -> bool:
        try:
            return await self._peers.put_private(buddy, self._member, step, blob)
        except CheckpointHealError as error:
            log.info("a buddy does not take the private part of step %d: %s", step, error)
            return False

    async def _take(self, holder: Peer, step: int) -> bytes | None:
        try:
            return await self._peers.get_private(holder, self._member, step)
        except CheckpointHealError as error:
            log.warning("the private part of step %d does not come back: %s", step, error)
            return None
