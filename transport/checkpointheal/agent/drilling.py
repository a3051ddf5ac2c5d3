"""Does this agent take part in a drill now, and as whom?

A drill asks a donor for its state as a heal would, and keeps nothing. It is carried out only while the trainer trains
and nothing else is ordered of this agent; the first word of anything else ends it. Must not know how bytes move.
"""

import asyncio

from checkpointheal.agent.background import Background
from checkpointheal.agent.giving import Giving, no_room
from checkpointheal.agent.taking import Taking
from checkpointheal.contract.orders import Drill, Orders
from checkpointheal.contract.report import DrillFacts, TrainerFacts
from checkpointheal.errors import Overdue, Overtaken

TRIES = 3
"""Times that a drill which training overtook is tried: each begins with a newer state."""


def wanted(trainer: TrainerFacts, orders: Orders) -> Drill | None:
    """The ordered drill, unless something that matters is under way."""
    epoch = orders.epoch
    if orders.withdrawn or epoch is None or epoch.over or trainer.state != "training":
        return None
    return None if orders.assignment is not None or orders.grants else orders.drill


class Drilling:
    """The latest drill: this agent receives in it, or gives."""

    def __init__(self, pod_uid: str, taking: Taking, giving: Giving) -> None:
        """`taking` is for drills alone."""
        self._pod_uid, self._taking, self._giving = pod_uid, taking, giving
        self._under_way: tuple[Drill, asyncio.Task[None]] | None = None
        self._given: Drill | None = None
        self._granting = Background()

    @property
    def facts(self) -> DrillFacts | None:
        """How far the latest one is, where this agent receives."""
        return self._taking.facts if isinstance(self._taking.facts, DrillFacts) else None

    def follow(self, trainer: TrainerFacts, orders: Orders) -> None:
        """Begin or end what is due. Call after every change."""
        drill = wanted(trainer, orders)
        receives = drill is not None and drill.recipient.pod_uid == self._pod_uid
        self._receive(drill if receives else None)
        self._give(None if receives else drill)

    def close(self) -> None:
        """End it."""
        self._receive(None)

    def _receive(self, drill: Drill | None) -> None:
        if self._under_way is not None and (drill is None or drill.heal != self._under_way[0].heal):
            self._under_way[1].cancel()
            self._under_way = None
        if drill is not None and self._under_way is None and not self._is_done(drill):
            self._under_way = (drill, asyncio.get_running_loop().create_task(self._run(drill)))

    def _is_done(self, drill: Drill) -> bool:
        return self.facts is not None and self.facts.heal == drill.heal

    def _give(self, drill: Drill | None) -> None:
        if drill == self._given:
            return
        self._given = drill
        self._granting.begin(self._giving.take_drill(drill))

    async def _run(self, drill: Drill) -> None:
        if (lacking := no_room()) is not None:
            self._taking.refuse(drill, lacking.reason, lacking.message)
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + drill.deadline
        try:
            async with asyncio.timeout_at(end):
                for _ in range(TRIES):
                    began = loop.time()
                    if await self._taking.fetch(drill, 0) or not self._is_overtaken():
                        return
                    if loop.time() + (loop.time() - began) > end:  # as long again, and it would be overdue
                        return
        except TimeoutError:
            self._taking.refuse(drill, Overdue.__name__, f"the drill did not end within {drill.deadline:.1f} s")
        except asyncio.CancelledError:
            self._taking.abandoned(drill)

    def _is_overtaken(self) -> bool:
        return self.facts is not None and self.facts.reason == Overtaken.__name__
