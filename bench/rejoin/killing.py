"""Who is killed, and when? The same for every way: each rank in its turn, at an instant that a seed draws."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from bench.rejoin import lost
from bench.rejoin.lost import Lost

VICTIMS = (1, 2, 0)
SETTLED = 3
"""Updates that every rank makes before it may happen again."""
PATIENCE = 600.0
SEED = 20261129


class Killing:
    """One job whose ranks are killed.

    `kill` does it; `noticed` tells of a rank and a kill when it was; `longest`: seconds to draw an instant from.
    """

    def __init__(
        self, folder: Path, kill: Callable[[int], object], noticed: Callable[[int, float], float | None], longest: float
    ) -> None:
        self._folder, self._kill, self._noticed, self._longest = folder, kill, noticed, longest
        self._dice = random.Random(SEED)

    async def losses(self, ready: Callable[[], bool] = lambda: True) -> list[Lost]:
        """Of each kill. `ready`: whether the first may be."""
        await until(self._folder, ready)
        return [await self._loss(rank) for rank in VICTIMS]

    async def _loss(self, rank: int) -> Lost:
        began = time.time()
        await until(self._folder, lambda: lost.updates(self._folder, began) >= SETTLED)
        await asyncio.sleep(self._dice.uniform(0, self._longest))
        before, killed = lost.highest(self._folder), time.time()
        self._kill(rank)
        await until(self._folder, lambda: lost.past(self._folder, before, killed) is not None)
        return lost.lost(self._folder, rank, killed, before, self._noticed(rank, killed) or killed)


async def until(folder: Path, true: Callable[[], bool]) -> None:
    """Raises TimeoutError where it never comes."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the job does not go on: {folder}, {[lost.step(folder, rank) for rank in range(3)]}")
        await asyncio.sleep(0.02)


def sigkill(pid: int | None) -> None:
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
