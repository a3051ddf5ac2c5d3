"""Ours: the training under `checkpointheal local`, on either level."""

import asyncio
import os
import sys
import time
from pathlib import Path

from bench.rejoin import killing
from bench.rejoin.lost import RANKS, Lost
from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.local.job import LocalJob
from checkpointheal_operator.local.settings import LocalSettings

LONGEST = 1.0
"""Seconds within which a kill falls: what is lost does not depend on it."""


def losses(way: str, folder: Path) -> list[Lost]:
    """Of a job of its own."""
    folder.mkdir()
    return asyncio.run(_losses(way, folder))


async def _losses(way: str, folder: Path) -> list[Lost]:
    settings = LocalSettings(
        job=f"bench-{way}-{os.getpid()}",
        command=(sys.executable, "-m", "bench.rejoin.trainer", way, str(folder)),
        policy=Policy(replicas=RANKS),
        logs=folder / "logs",
    )
    async with LocalJob(settings, clock=time.time) as job:

        def kill(rank: int) -> None:
            pod = job.supervisor.pod(MemberId(replica=rank))
            killing.sigkill(pod.trainer_pid if pod else None)

        def noticed(rank: int, killed: float) -> float | None:
            """When the operator found the epoch over."""
            mine = (each.heal for each in job.heals if each.heal.recipient == MemberId(replica=rank))
            return next((heal.noticed_at for heal in mine if heal.opened_at >= killed), None)

        return await killing.Killing(folder, kill, noticed, LONGEST).losses()
