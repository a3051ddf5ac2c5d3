"""What room is made in memory for the trainer, and what goes from it again?

Everything of a future that will not come goes before anybody is answered; private parts that nobody can need go as
training proceeds. Must not know the trainer, nor when any of this is due.
"""

import asyncio
import logging
from collections.abc import Collection

from checkpointheal.agent.flaws import Flaws, flaw_of
from checkpointheal.agent.keep import Keep
from checkpointheal.agent.shelf import Shelf
from checkpointheal.arena import Arena
from checkpointheal.contract.orders import EpochOrder
from checkpointheal.contract.report import Flaw
from checkpointheal.errors import CheckpointHealError

log = logging.getLogger("checkpointheal.agent")

LATEST = 3
"""Private parts that stay though nothing is sealed for them."""


class Upkeep:
    """Of the own arena, and of what is kept for others."""

    def __init__(self, arena: Arena, shelf: Shelf, keep: Keep, flaws: Flaws) -> None:
        self._arena, self._shelf, self._keep, self._flaws = arena, shelf, keep, flaws
        self._untidy = False
        self._private_steps: frozenset[int] = frozenset()

    @property
    def private_steps(self) -> frozenset[int]:
        """Steps whose own private part is here; as they were last seen, where the arena cannot be read now."""
        try:
            self._private_steps = frozenset(self._arena.private_steps())
        except OSError as error:  # as where the process has no descriptor to spare
            self._flaws.found("private parts", flaw_of(error))
        else:
            self._flaws.over("private parts")
        return self._private_steps

    async def reserve(self, slot_bytes: int, part_bytes: int) -> Flaw | None:
        """Make the trainer's slots, with room for private parts; None, or why there are none."""
        try:
            await asyncio.to_thread(self._arena.reserve, slot_bytes, part_bytes)
        except (CheckpointHealError, OSError) as error:
            flaw = flaw_of(error)
            log.warning("no slots for the trainer: %s: %s", flaw.reason, flaw.message)
            self._flaws.found("slots", flaw)
            return flaw
        self._flaws.over("slots")
        return None

    def drop_future(self, order: EpochOrder) -> None:
        """What is not of this epoch's past must never be offered again."""
        step = order.step
        for slot, seal in self._arena.seals().items():
            if step is None or seal.step > step or seal.epoch < order.missed_since:
                self._arena.discard(slot)
        self._arena.remove_private(part for part in self._arena.private_steps() if step is None or part > step)
        self._keep.forget_after(step)
        self._shelf.look()

    def tidy(self, order: EpochOrder | None) -> None:
        """Private parts that nobody can need any more go. Where one stays, training goes on all the same."""
        try:
            needed = {seal.step for seal in self._arena.seals().values()}
            if order is not None and order.private_step is not None:
                needed.add(order.private_step)  # the epoch's own step may be gone back to again
            self._keep_private(needed)
        except (CheckpointHealError, OSError) as error:
            if not self._untidy:
                log.warning("old private parts stay: %s", error)
            self._untidy = True

    def _keep_private(self, needed: Collection[int]) -> None:
        """These and the latest, as many of those as leave room for the next: without it no step would be kept again."""
        seen = self._arena.private_steps()
        self._arena.remove_private(step for step in seen[:-LATEST] if step not in needed)
        for step in seen[-LATEST:-1]:
            if step not in needed and not self._arena.has_room_for_private():
                self._arena.remove_private((step,))
