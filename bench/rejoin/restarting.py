"""torchrun: survivors are ended, all start again from the last file. One torchrun for the three, its best case."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from bench.machine import end_with_parent
from bench.rejoin import killing, lost
from bench.rejoin.checkpoints import Plan
from bench.rejoin.lost import RANKS, Lost

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS), "--max-restarts", "100")


def losses(plan: Plan, folder: Path) -> list[Lost]:
    """Of a job of its own."""
    folder.mkdir()
    return asyncio.run(_losses(plan, folder))


async def _losses(plan: Plan, folder: Path) -> list[Lost]:
    with (folder / "log").open("w") as log:
        job = await asyncio.create_subprocess_exec(
            *(sys.executable, *TORCHRUN, "-m", "bench.rejoin.trainer", "restart", str(folder)),
            env={**os.environ, "EVERY": str(plan.every), "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
            preexec_fn=end_with_parent,
        )
        try:
            kills = killing.Killing(
                folder,
                lambda rank: killing.sigkill(_last(folder, rank)),
                lambda _, killed: lost.noticed(folder, killed),
                plan.every,
            )
            return await kills.losses((folder / "last.pt").exists)
        finally:
            job.send_signal(signal.SIGTERM)
            await job.wait()


def _last(folder: Path, rank: int) -> int:
    return int(lost.said(folder, rank)[-1]["pid"])
