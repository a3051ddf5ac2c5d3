"""How do a member's private parts reach its buddies, and come back?

Nobody else has them: another rank's random stream or data position would be wrong. Must not know what a part holds, nor
when it is due.
"""

import asyncio
import logging
import weakref
from collections.abc import Callable, Coroutine, Sequence
from typing import NamedTuple

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
"""Between two rounds over holders none of which had the part, or a buddy that took none: one may be restarting."""
ROUNDS = 30
"""Times that a buddy which is new is asked to take what is still here: it is known before its door is open."""


class _Way:
    """To one buddy: one part at a time. Of the hand-overs that wait for it, only the latest is still to go."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.latest = 0


class _Asked(NamedTuple):
    """What a buddy made of a part."""

    taken: bool
    why: str
    again: bool = False
    """It did not answer, and may in a moment."""


class PrivateParts:
    """One member's private parts on their way. `kept` hears, once a step, how many buddies have it so far."""

    def __init__(self, member: MemberId, arena: Arena, peers: Peers, kept: Callable[[int, int], None]) -> None:
        self._member, self._arena, self._peers, self._kept = member, arena, peers, kept
        self._ways = weakref.WeakValueDictionary[Peer, _Way]()
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
        """Leave the part of a step with every buddy. The first that has it is enough to go on.

        A buddy that is still being left an earlier part is left this one next, unless a later one is handed over first.
        """
        if not buddies and self._arena.read_private(step) is not None:
            self._count(step, 0)
        refusals, told = list[str](), False
        for leaving in asyncio.as_completed([self._leave_latest(buddy, step) for buddy in buddies]):
            asked = await leaving
            if asked is None:
                continue
            if not asked.taken:
                refusals.append(asked.why)
            elif not told:
                told = True
                self._count(step, 1)
        if refusals and not told:
            self._not_taken = dict(sorted((self._not_taken | {step: "; ".join(refusals)}).items())[-NOT_KEPT_AFTER:])

    def _count(self, step: int, buddies: int) -> None:
        self._not_taken = {}
        self._kept(step, buddies)

    async def hand_on(self, buddies: Sequence[Peer]) -> None:
        """Leave every part that is still here with buddies that are new: the ones before them took theirs along.

        One that does not answer yet is asked again for a while.
        """
        await asyncio.gather(*(self._hand_on(buddy) for buddy in buddies))

    async def _hand_on(self, buddy: Peer) -> None:
        for _ in range(ROUNDS):
            if await self._has_all(buddy):
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _has_all(self, buddy: Peer) -> bool:
        try:
            steps = self._arena.private_steps()
        except OSError as error:
            log.info("which private parts are here cannot be read now: %s", error)
            return False
        for step in steps:
            if not await self._is_left(buddy, step):
                return False
        return True

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

    async def _leave_latest(self, buddy: Peer, step: int) -> _Asked | None:
        """None where a later part took its turn, or it is here no more."""
        way = self._ways.setdefault(buddy, _Way())
        way.latest += 1
        mine = way.latest
        async with way.turn:
            return await self._leave(buddy, step) if mine == way.latest else None

    async def _is_left(self, buddy: Peer, step: int) -> bool:
        """Whether nothing is to be done for it any more."""
        way = self._ways.setdefault(buddy, _Way())
        async with way.turn:
            asked = await self._leave(buddy, step)
        return asked is None or not asked.again

    async def _leave(self, buddy: Peer, step: int) -> _Asked | None:
        """None where it is not here: it was dropped meanwhile."""
        try:
            blob = self._arena.read_private(step)
            if blob is None:
                return None
            taken = await self._peers.put_private(buddy, self._member, step, blob)
        except (CheckpointHealError, OSError) as error:
            log.info("a buddy does not take the private part of step %d: %s", step, error)
            return _Asked(taken=False, why=f"{buddy.member}: {error}", again=True)
        return _Asked(taken, f"{buddy.member} refuses it")

    async def _take(self, holder: Peer, step: int) -> bytes | None:
        try:
            return await self._peers.get_private(holder, self._member, step)
        except CheckpointHealError as error:
            log.warning("the private part of step %d does not come back: %s", step, error)
            return None
