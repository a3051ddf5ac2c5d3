"""What may befall a member of a job on this machine, or its operator, or the memory of all.

Must not know what is promised: `builders_bad_hour` judges.
"""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from builders_bad_hour import BadHour
from checkpointheal_operator.local.places import SHARED_MEMORY

Blow = Callable[[BadHour, random.Random, int], Awaitable[None]]

SMALL_ENOUGH = 1 << 30
"""Bytes of shared memory that may be filled: more is everybody's."""
STOPPED_SECONDS = 20.0
FULL_SECONDS = (2.0, 15.0)
AWAY_SECONDS = (0.0, 8.0)
SKEWS = (-30.0, -3.0, 3.0, 30.0)
"""Seconds. After the last all agents have been silent for too long, until the next word of each."""
FILLS_EVERY = 0.05


async def kill_trainer(hour: BadHour, _dice: random.Random, rank: int) -> None:
    hour.hit_trainer(rank)


async def kill_agent(hour: BadHour, _dice: random.Random, rank: int) -> None:
    hour.hit_agent(rank)


async def delete_pod(hour: BadHour, _dice: random.Random, rank: int) -> None:
    await hour.delete_pod(rank)


async def stop_trainer(hour: BadHour, _dice: random.Random, rank: int) -> None:
    """Until somebody kills it."""
    hour.hit_trainer(rank, signal.SIGSTOP)


async def stop_agent(hour: BadHour, dice: random.Random, rank: int) -> None:
    """For about as long as the operator waits for a word."""
    await _stop_agent(hour, rank, dice.uniform(1, 2 * hour.job.loop.policy.agent_silence))


async def stop_agent_for_long(hour: BadHour, _dice: random.Random, rank: int) -> None:
    await _stop_agent(hour, rank, STOPPED_SECONDS)


async def kill_operator(hour: BadHour, dice: random.Random, _rank: int) -> None:
    """Another one takes its place after a while, and has only its records."""
    await hour.change_operator(dice.uniform(*AWAY_SECONDS))


async def bend_clock(hour: BadHour, dice: random.Random, _rank: int) -> None:
    """The operator's."""
    hour.clock.ahead += dice.choice(SKEWS)


async def fill_memory(hour: BadHour, dice: random.Random, rank: int) -> None:
    """Nobody gets a page of shared memory any more, for a while in which a pod may be replaced."""
    filling = asyncio.create_task(_fill(dice.uniform(*FULL_SECONDS)))
    if dice.random() < 0.5:
        await asyncio.sleep(2 * FILLS_EVERY)
        await hour.delete_pod(rank)
    await filling


ANY_INSTANT: tuple[Blow, ...] = (kill_trainer, kill_trainer, kill_agent, delete_pod, stop_trainer, stop_agent)


def chaos() -> tuple[Blow, ...]:
    """All that can happen here. Shared memory is filled only where it is this run's alone: a small one."""
    all_over = (kill_trainer, kill_agent, delete_pod, stop_trainer, stop_agent_for_long, kill_operator, bend_clock)
    found = os.statvfs(SHARED_MEMORY)
    return (*all_over, fill_memory) if found.f_blocks * found.f_frsize <= SMALL_ENOUGH else all_over


async def _stop_agent(hour: BadHour, rank: int, seconds: float) -> None:
    hour.hit_agent(rank, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    hour.hit_agent(rank, signal.SIGCONT)


async def _fill(seconds: float) -> None:
    file, ends = SHARED_MEMORY / f"filler-{os.getpid()}", time.monotonic() + seconds
    try:
        while time.monotonic() < ends:
            _take_the_rest(file)
            await asyncio.sleep(FILLS_EVERY)
    finally:
        file.unlink(missing_ok=True)


def _take_the_rest(file: Path) -> None:
    with file.open("ab") as filler:
        found = os.fstatvfs(filler.fileno())
        if free := found.f_bavail * found.f_frsize:
            with contextlib.suppress(OSError):  # somebody else was quicker
                os.posix_fallocate(filler.fileno(), os.fstat(filler.fileno()).st_size, free)
