"""Where do the trainers of an epoch find each other?

In a store that the agent which the operator's order names holds in memory, for the newest epoch alone. A trainer speaks
with its own agent, and agents with each other: nobody listens anew, and whoever has not been answered for this very
epoch meets nobody. Which epoch is the newest is what the host's own orders say, and no guest. Must not know HTTP or
torch.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from checkpointheal.contract.orders import NOT_KNOWN, EpochOrder, Orders, Peer
from checkpointheal.contract.trainer import StoreAsk, StoreSaid
from checkpointheal.errors import PeerLost, PeerRefused

HOLD_SECONDS = 10.0
"""How long a guest's word is held before it is told that there is nothing yet, and asks again."""
RETRY_SECONDS = 0.2
"""Between two calls at a host that does not answer: its agent may be restarting."""
LONGEST = 64
"""Digits of two numbers."""
LIMIT_BYTES = 64 << 20
"""Of all that is held of one epoch: addresses of ranks, not data."""
EACH_COSTS = 256
"""Bytes of memory for a key and its value, beside what they say."""
NOT_BEGUN = "EpochNotBegun"


class Board:
    """The host's side: one epoch's keys. A word of an epoch that is over is refused."""

    def __init__(self, named: Callable[[], int]) -> None:
        """`named` gives the epoch of this agent's own orders: a guest that names a newer one ends none for others."""
        self._named = named
        self._epoch, self._size = 0, 0
        self._values: dict[str, bytes] = {}
        self._changed = asyncio.Condition()

    async def answer(self, ask: StoreAsk) -> StoreSaid:
        """At once, but for `get`, which waits a while for its key. No value: not there, or not yet.

        A word of an epoch that this agent has not heard of waits a while for its orders.
        """
        await self._hear_of(ask.epoch)
        async with self._changed:
            self._turn_to(self._named())
            if ask.epoch > self._epoch:
                return _not_begun(ask, self._epoch)
            if ask.do in ("set", "add"):
                return self._put(ask)
            if ask.do == "get" and ask.key not in self._values:
                await self._wait_for(ask)
            if ask.epoch < self._epoch:
                return _is_over(ask)
            return _said(ask, self._values.get(ask.key))

    async def _hear_of(self, epoch: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HOLD_SECONDS):
                while self._named() < epoch:
                    await asyncio.sleep(RETRY_SECONDS)

    def _turn_to(self, epoch: int) -> None:
        """A newer epoch ends those before it; who still waits in one of them hears so."""
        if epoch > self._epoch:
            self._epoch, self._size, self._values = epoch, 0, {}
            self._changed.notify_all()

    def _put(self, ask: StoreAsk) -> StoreSaid:
        if ask.epoch < self._epoch:
            return _is_over(ask)
        value = ask.value if ask.do == "set" else _sum(self._values.get(ask.key, b"0"), ask.value)
        if value is None:
            return _refused(ask, "NotANumber", f"{ask.key} cannot be counted up")
        held = _cost(ask.key, self._values[ask.key]) if ask.key in self._values else 0
        size = self._size + _cost(ask.key, value) - held
        if size > LIMIT_BYTES:
            return _refused(ask, "RendezvousFull", f"the rendezvous of epoch {ask.epoch} is full")
        self._values[ask.key], self._size = value, size
        self._changed.notify_all()
        return _said(ask, value)

    async def _wait_for(self, ask: StoreAsk) -> None:
        def found() -> bool:
            return ask.key in self._values or ask.epoch < self._epoch

        try:
            async with asyncio.timeout(HOLD_SECONDS):
                await self._changed.wait_for(found)
        except TimeoutError:
            return


class Rendezvous:
    """A member's way to the store of its epoch. `orders` gives what stands; `call` speaks with another agent."""

    def __init__(self, pod_uid: str, orders: Callable[[], Orders]) -> None:
        self._pod_uid, self._orders = pod_uid, orders
        self.board = Board(lambda: 0 if (epoch := orders().epoch) is None else epoch.epoch)

    async def ask(self, said: StoreAsk, call: Callable[[Peer, StoreAsk], Awaitable[StoreSaid]]) -> StoreSaid:
        """The answer, however long it takes while the epoch lasts."""
        while (host := await self._host(said.epoch)) is not None:
            try:
                answer = await (self.board.answer(said) if self._is_me(host) else call(host, said))
            except PeerLost as error:
                if said.do == "add":  # the one word that must not be said twice
                    return _refused(said, error.reason, str(error))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            except PeerRefused as error:
                return _refused(said, error.refusal, str(error))
            if answer.reason == NOT_BEGUN:  # nothing was done, nor counted
                await asyncio.sleep(RETRY_SECONDS)
            elif answer.value is not None or answer.reason or said.do != "get":
                return answer
        return _is_over(said)

    async def _host(self, epoch: int) -> Peer | None:
        """Who holds the store of that epoch, as soon as that is known; None where it is over.

        An agent that has just started has heard nothing yet: its trainer, which waits since before, must not take that
        for an end.
        """
        while (orders := self._orders()).revision == NOT_KNOWN or _lasts(orders.epoch, epoch):
            if orders.epoch is not None and orders.epoch.host is not None:
                return orders.epoch.host
            await asyncio.sleep(RETRY_SECONDS)
        return None

    def _is_me(self, host: Peer) -> bool:
        return host.pod_uid == self._pod_uid


def _lasts(order: EpochOrder | None, epoch: int) -> bool:
    return order is not None and order.epoch == epoch and not order.over


def _cost(key: str, value: bytes) -> int:
    return len(key) + len(value) + EACH_COSTS


def _sum(held: bytes, more: bytes) -> bytes | None:
    if not (held.removeprefix(b"-").isdigit() and more.removeprefix(b"-").isdigit() and len(held + more) < LONGEST):
        return None
    return b"%d" % (int(held) + int(more))


def _said(ask: StoreAsk, value: bytes | None) -> StoreSaid:
    return StoreSaid(number=ask.number, epoch=ask.epoch, value=value)


def _refused(ask: StoreAsk, reason: str, message: str) -> StoreSaid:
    return StoreSaid(number=ask.number, epoch=ask.epoch, reason=reason, message=message)


def _not_begun(ask: StoreAsk, epoch: int) -> StoreSaid:
    """To `get` nothing is a plain answer, which agents of older builds know: they ask again."""
    if ask.do == "get":
        return _said(ask, None)
    told = f"the host's orders name epoch {epoch}, not {ask.epoch}: say it again"
    return _refused(ask, NOT_BEGUN, told)


def _is_over(ask: StoreAsk) -> StoreSaid:
    return _refused(ask, "EpochIsOver", f"epoch {ask.epoch} is over: nobody meets in it any more")
