"""Which state is being fetched now, and how does that end?

By its own end, by its deadline, or because it is called off. Must not know when a fetch is due, nor how bytes come.
"""

import asyncio
from collections.abc import Callable

from checkpointheal.agent.background import Background
from checkpointheal.agent.taking import Taking
from checkpointheal.contract.orders import Assignment, EpochOrder


class Fetching:
    """The one fetch under way, if any. `order` gives the epoch that stands; `ended` hears that one is over."""

    def __init__(
        self,
        taking: Taking,
        background: Background,
        order: Callable[[], EpochOrder | None],
        ended: Callable[[], None],
    ) -> None:
        self._taking, self._background, self._order, self._ended = taking, background, order, ended
        self._under_way: tuple[Assignment, asyncio.Task[None]] | None = None

    @property
    def assignment(self) -> Assignment | None:
        """What it is for."""
        return None if self._under_way is None else self._under_way[0]

    def begin(self, assignment: Assignment) -> None:
        """Carry this one out."""
        self._under_way = (assignment, self._background.begin(self._fetch(assignment)))

    def stop(self) -> None:
        """It is no longer wanted."""
        if self._under_way is not None:
            self._under_way[1].cancel()
            self._under_way = None

    async def _fetch(self, assignment: Assignment) -> None:
        order = self._order()
        try:
            async with asyncio.timeout(assignment.deadline):
                await self._taking.fetch(assignment, order.epoch if order else 0)
        except TimeoutError:
            self._taking.overdue(assignment)
        except asyncio.CancelledError:
            self._taking.abandoned(assignment)
        finally:  # by an error that nobody foresaw, too: else the operator hears of it at the deadline
            self._taking.settle(assignment)
            if self.assignment is assignment:  # else another one took its place while it ended
                self._under_way = None
            self._ended()
