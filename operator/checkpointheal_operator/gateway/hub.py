"""What has each agent said last, and what is it ordered?

Soft state of one leader: a new leader starts with an empty hub and every agent reports again. Must not know HTTP or
decide anything.
"""

import asyncio
import contextlib
from collections.abc import Callable

from checkpointheal.contract.gateway import AgentReport, Orders
from checkpointheal_operator.core.hearing import hear
from checkpointheal_operator.core.view import Heard

NO_ORDERS = Orders(revision=0)


class Hub:
    """Latest reports and standing orders, by pod uid. `noticed` is called after each report."""

    def __init__(self, clock: Callable[[], float], noticed: Callable[[], None]) -> None:
        self._clock, self._noticed = clock, noticed
        self._heard: dict[str, Heard] = {}
        self._orders: dict[str, Orders] = {}
        self._changed = asyncio.Condition()

    @property
    def heard(self) -> tuple[Heard, ...]:
        """The latest report of each pod's agent, and when it came."""
        return tuple(self._heard.values())

    def take(self, report: AgentReport) -> None:
        """Keep a report, unless a later one of the same start is here."""
        self._heard[report.pod_uid] = hear(self._heard.get(report.pod_uid), report, self._clock())
        self._noticed()

    def keep_only(self, heard: tuple[Heard, ...]) -> None:
        """Forget every other pod."""
        self._heard = {each.report.pod_uid: each for each in heard}

    async def order(self, orders: dict[str, Orders]) -> None:
        """Declare what each pod's agent shall be doing; pods left out are ordered nothing."""
        if {uid: each.revision for uid, each in orders.items()} == {
            uid: each.revision for uid, each in self._orders.items()
        }:
            return
        async with self._changed:
            self._orders = orders
            self._changed.notify_all()

    async def orders(self, pod_uid: str, seen: int, seconds: float) -> Orders:
        """The standing orders, as soon as they are others than those seen; after `seconds`, whatever stands."""

        def news() -> bool:
            return pod_uid in self._orders and self._orders[pod_uid].revision != seen

        async with self._changed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait_for(news), seconds)
            return self._orders.get(pod_uid, NO_ORDERS)
