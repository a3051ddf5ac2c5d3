"""What happens without us: the plain script, uninterrupted, or restarted from its last checkpoint.

The first is the witness of the proof, the second the comparison. Must not know the operator, nor anything of a heal.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from checkpointheal_operator.demo.progress import Progress
from checkpointheal_operator.local.places import tether

SCRIPT = "checkpointheal.demo.reference"
LOOK_EVERY = 0.02


class Launch(NamedTuple):
    """How a job of plain ranks is started."""

    folder: Path
    ranks: int
    port: int
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = {}

    @property
    def progress(self) -> Progress:
        """The watch over its folder."""
        return Progress(self.folder, self.ranks)


class Restarted(NamedTuple):
    """The usual way to recover."""

    seconds: float
    """From the kill until every rank had completed one step more than before it."""
    steps_lost: int
    """Updates computed again, over all ranks."""


class Failed(Exception):
    """A plain rank ended with an error: nothing can be compared."""


async def train(launch: Launch) -> None:
    """Run to the end. Raises Failed."""
    async with _started(launch) as ranks:
        codes = await asyncio.gather(*(rank.wait() for rank in ranks))
    if any(codes):
        raise Failed(f"the plain script ended with {codes}: see {launch.folder}")


async def recover_from_checkpoint(launch: Launch, *, every: int, kill_at: int) -> Restarted:
    """Kill one rank at a step, start all of them again, and wait until they are past it. Raises Failed."""
    launch = launch._replace(environment={"CHECKPOINT_DIR": str(launch.folder), "CHECKPOINT_EVERY": str(every)})
    progress = launch.progress
    async with _started(launch) as ranks:
        await _until(progress, kill_at, 0.0, ranks)
        killed = time.time()
        ranks[1].send_signal(signal.SIGKILL)
    async with _started(launch) as ranks:
        reached = await _until(progress, kill_at + 1, killed, ranks)
    return Restarted(reached - killed, progress.computed_again())


async def _until(progress: Progress, step: int, since: float, ranks: Sequence[asyncio.subprocess.Process]) -> float:
    while True:
        progress.look()
        if (reached := progress.reached(step, since)) is not None:
            return reached
        if any(rank.returncode for rank in ranks):
            raise Failed(f"a plain rank ended with {[rank.returncode for rank in ranks]} before step {step}")
        await asyncio.sleep(LOOK_EVERY)


@asynccontextmanager
async def _started(launch: Launch) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """The ranks; whichever still runs at the end is killed."""
    ranks = [await _start(launch, rank) for rank in range(launch.ranks)]
    try:
        yield ranks
    finally:
        for rank in ranks:
            with contextlib.suppress(ProcessLookupError):
                rank.kill()
        await asyncio.gather(*(rank.wait() for rank in ranks))


async def _start(launch: Launch, rank: int) -> asyncio.subprocess.Process:
    place = {"RANK": rank, "WORLD_SIZE": launch.ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": launch.port}
    environment = {**os.environ, **launch.environment, **{name: str(value) for name, value in place.items()}}
    with (launch.folder / f"log-{rank}.txt").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *_tethered([sys.executable, "-m", SCRIPT, "--out", str(launch.folder), *launch.arguments]),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _tethered(command: list[str]) -> list[str]:
    """The command, tied to this process: however the demo ends, nothing of it stays."""
    return [sys.executable, "-I", "-S", tether(), str(os.getpid()), *command]
