"""Which faults does a seed draw, and how do they come: up to two at a time, and a rest after each ten?

The list is made before the first of them befalls anybody, so a seed means the same list wherever it is drawn. Must not
know what a fault does, or to whom.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

LONGEST_PAUSE = 8.0
"""Seconds to the next fault: about as long as a heal takes, so that many of them fall into one."""
REST_EVERY = 10
"""Faults after which everybody must be seen to train on."""
AT_ONCE = 2


class Fault(NamedTuple):
    """One of a list, from 1 on. `seed` is for what it draws itself."""

    number: int
    pause: float
    name: str
    rank: int
    seed: float

    def __str__(self) -> str:
        return f"{self.number}: {self.name}, rank {self.rank}"


def drawn(seed: int, count: int, names: Sequence[str], world: int) -> list[Fault]:
    """So many of these."""
    dice = random.Random(seed)
    return [
        Fault(number + 1, dice.uniform(0, LONGEST_PAUSE), dice.choice(names), dice.randrange(world), dice.random())
        for number in range(count)
    ]


async def befall(
    faults: Sequence[Fault], strike: Callable[[Fault], Awaitable[None]], rest: Callable[[], Awaitable[None]]
) -> None:
    """One after the other. What a strike or a rest raises is raised."""
    running: set[asyncio.Future[None]] = set()
    for fault in faults:
        await asyncio.sleep(fault.pause)
        running = {each for each in running if not _ended(each)}
        if len(running) >= AT_ONCE:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        running.add(asyncio.ensure_future(strike(fault)))
        if fault.number % REST_EVERY == 0:
            await asyncio.gather(*running)
            await rest()
    await asyncio.gather(*running)
    await rest()


def _ended(task: asyncio.Future[None]) -> bool:
    """What it raised is raised here."""
    if task.done():
        task.result()
    return task.done()
