"""What are the shortest timeouts with which torchft is stable on this machine?

Tried from the shortest up: the first with which, twice in a row, nobody finds a loss where there is none, the job is
past each of three kills, and nobody ends who was not killed.
"""

import asyncio
import sys
import time
from pathlib import Path

from bench.rejoin import killing, lost
from bench.rejoin.managers import Replicas, Timeouts, job

QUIET = 120
"""Updates of each rank within which nobody may find somebody lost."""
TRIAL = 180.0
"""Seconds for those and for the kills after them."""
IN_A_ROW = 2
LADDER = (
    Timeouts(150, 50, 1.0),
    Timeouts(250, 100, 2.0),
    Timeouts(500, 100, 5.0),
    Timeouts(1000, 200, 10.0),
    Timeouts(2000, 500, 20.0),
    Timeouts(5000, 1000, 60.0),
)


def shortest(folder: Path) -> Timeouts:
    """Raises RuntimeError where none of them is stable."""
    folder.mkdir()
    for timeouts in LADDER:
        tries = (folder / f"{timeouts.heartbeat}-{number}" for number in range(IN_A_ROW))
        if all(_is_stable(each, timeouts) for each in tries):
            return timeouts
    raise RuntimeError(f"torchft is not stable here, not even with: {LADDER[-1].note}")


def _is_stable(folder: Path, timeouts: Timeouts) -> bool:
    with job(folder, timeouts) as replicas:
        why = asyncio.run(_trouble(replicas))
    print(f"  torchft with {timeouts.note}: {why or 'stable'}", file=sys.stderr, flush=True)
    return why is None


async def _trouble(replicas: Replicas) -> str | None:
    began = time.time()
    try:
        async with asyncio.timeout(TRIAL):
            await killing.until(replicas.folder, lambda: lost.updates(replicas.folder, began) >= QUIET)
            if lost.noticed(replicas.folder, replicas.settled()) is not None:
                return "a loss was found where there was none"
            await replicas.losses()
    except TimeoutError:
        return f"not past three kills within {TRIAL:g} s"
    ended = replicas.ended()
    return None if ended is None else f"rank {ended} ended, which nobody had killed"
