"""What has each agent said last, and what is it ordered?

Soft state of one leader: a new leader starts with an empty hub and every agent reports again. Must not know HTTP or
decide anything.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

from checkpointheal.contract.orders import NOT_KNOWN, Orders
from checkpointheal.contract.report import AgentReport
from checkpointheal_operator.core.facts import Heard
from checkpointheal_operator.core.hearing import hear

NO_ORDERS = Orders(revision=NOT_KNOWN)


class Hub:
    """Latest reports and standing orders, by pod uid. `noticed` is called after each report."""

    def __init__(self, clock: Callable[[], float], noticed: Callable[[], None]) -> None:
        self._clock, self._noticed = clock, noticed
        self._heard: dict[str, Heard] = {}
        self._orders: dict[str, Orders] = {}
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @property
    def heard(self) -> tuple[Heard, ...]:
        """The latest report of each pod's agent, and when it came."""
        return tuple(self._heard.values())

    def heard_of(self, pod_uid: str) -> Heard | None:
        """That pod's."""
        return self._heard.get(pod_uid)

    def take(self, report: AgentReport, namespace: str = "") -> None:
        """Keep a report, unless a later one of the same start is here. `namespace`: where its token proved to live."""
        self._heard[report.pod_uid] = hear(self._heard.get(report.pod_uid), report, self._clock())
        self._noticed()

    def keep_only(self, heard: tuple[Heard, ...]) -> None:
        """Forget every other pod."""
        self._heard = {each.report.pod_uid: each for each in heard}

    def order(self, orders: Mapping[str, Orders]) -> None:
        """Declare what each pod's agent shall be doing; pods left out are ordered nothing."""
        self.change(orders, self._orders.keys() - orders.keys())

    def change(self, orders: Mapping[str, Orders], gone: Collection[str] = ()) -> None:
        """Declare it for these pods; those that are `gone` are ordered nothing, and the others what they were.

        Only who is ordered something else wakes up: a thousand agents wait here at once.
        """
        for uid in gone:
            self._orders.pop(uid, None)
        for uid, each in orders.items():
            known = self._orders.get(uid)
            if known is None or known.revision != each.revision:
                self._orders[uid] = each
                for waiting in self._waiting.get(uid, ()):
                    waiting.set()

    async def orders(self, pod_uid: str, seen: int, seconds: float) -> Orders:
        """The standing orders, as soon as they are others than those seen; after `seconds`, whatever stands."""
        told = asyncio.Event()
        self._waiting[pod_uid].add(told)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while not self._is_news(pod_uid, seen):
                        told.clear()
                        await told.wait()
        finally:
            self._waiting[pod_uid].discard(told)
            if not self._waiting[pod_uid]:
                del self._waiting[pod_uid]
        return self._orders.get(pod_uid, NO_ORDERS)

    def _is_news(self, pod_uid: str, seen: int) -> bool:
        return pod_uid in self._orders and self._orders[pod_uid].revision != seen
