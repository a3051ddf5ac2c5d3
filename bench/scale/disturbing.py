"""What does it cost an operator that pods change which are none of its business?

Told by the events of a watch like the operator's, and by its wake-ups and its processor time beside what it has while
nothing happens. Must not know what kind of API server there is.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from bench.scale.crowd import Crowd
from bench.scale.processes import Operator, total
from bench.table import Row
from checkpointheal_operator.shell.cluster import PODS, NotThere, Ref
from checkpointheal_operator.shell.gather import OPTED_IN
from checkpointheal_operator.shell.kube import Kube, Selection

CHANGED = 2_000
"""Others' pods that are changed while the operator is watched."""
QUIET = 20.0
AT_ONCE = 48


class Cost(NamedTuple):
    """Of an operator, meanwhile."""

    seconds: float
    processor: float
    """Seconds of a processor, each second."""
    wakeups: float
    """Each second."""


async def rows(kube: Kube, replica: Operator, crowd: Crowd, namespace: str) -> list[Row]:
    """Its start, then while nothing happens, and while pods `other-0` and following of that namespace change."""
    ready = await asyncio.to_thread(replica.until_ready)
    led = await asyncio.to_thread(replica.until_looked, crowd.jobs)
    await asyncio.sleep(QUIET)
    idle = await _cost(replica, lambda: asyncio.sleep(QUIET))
    watched = asyncio.create_task(_seen(kube, namespace))
    busy = await _cost(replica, lambda: _disturb(kube, namespace))
    watched.cancel()
    (events,) = await asyncio.gather(watched)
    return [
        Row("start to synced", ready, "s", 30.0),
        Row("start to every job looked at", led, "s", None, f"{crowd.jobs} jobs"),
        Row("most memory", replica.memory()[1], "MiB", 400.0, "resident"),
        Row("events of others' pods", float(events), "", 0.0, f"{CHANGED:,} changes within {busy.seconds:.0f} s"),
        Row("wake-ups while nothing happens", idle.wakeups, "/s", None, "its own timers'"),
        Row("wake-ups while others change", busy.wakeups, "/s"),
        Row("processor while nothing happens", idle.processor, "s/s"),
        Row("processor while others change", busy.processor, "s/s"),
    ]


def held(replica: Operator, there: int, others: int) -> Row:
    """Of pods that opted in it holds all that are `there`, and nobody else's."""
    holds = replica.metrics().get('checkpointheal_watched_objects{kind="pods"}', 0.0)
    return Row(
        "pods that it holds", holds, "", float(there), f"{there:,} that opted in are there, and {others:,} others"
    )


async def each(numbers: Iterable[int], do: Callable[[int], Awaitable[None]]) -> None:
    """So many at once."""
    left = iter(numbers)

    async def one_after_the_other() -> None:
        for number in left:
            await do(number)

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))


async def _cost(replica: Operator, what: Callable[[], Awaitable[object]]) -> Cost:
    began, spent = time.monotonic(), replica.seconds()
    before = await asyncio.to_thread(replica.metrics)
    await what()
    took, after = time.monotonic() - began, await asyncio.to_thread(replica.metrics)
    wakeups = total(after, "checkpointheal_wakeups_total") - total(before, "checkpointheal_wakeups_total")
    return Cost(took, (replica.seconds() - spent) / took, wakeups / took)


async def _seen(kube: Kube, namespace: str) -> int:
    """Of how many of its events a watch like the operator's is told until it is cancelled."""
    selection, seen = Selection(PODS, OPTED_IN), 0
    page = await kube.page(selection)
    try:
        async for event in kube.events(selection, page.version):
            found: dict[str, Any] = event["object"]["metadata"]
            seen += found.get("namespace") == namespace
    except asyncio.CancelledError:
        return seen
    raise RuntimeError("the watch ended by itself")


async def _disturb(kube: Kube, namespace: str) -> None:
    await asyncio.sleep(2)
    turn = time.time_ns()

    async def touch(number: int) -> None:
        with contextlib.suppress(NotThere):  # a node that was late may have cost it
            where = Ref(PODS, namespace, f"other-{number}")
            await kube.patch(where, {"metadata": {"annotations": {"bench": str(turn)}}})

    await each(range(CHANGED), touch)
    await asyncio.sleep(2)
