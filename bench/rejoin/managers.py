"""torchft: its Manager, its own transport, survivors that go on alone; a lost rank is started again at once."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from bench.lighthouse import lighthouse
from bench.machine import end_with_parent
from bench.rejoin import killing, lost
from bench.rejoin.healing import LONGEST
from bench.rejoin.lost import RANKS, Lost

TIMEOUTS = {
    "min_replicas": RANKS - 1,
    "join_timeout_ms": 100,
    "quorum_tick_ms": 10,
    "heartbeat_timeout_ms": 500,
}
NOTE = "heartbeat 500 ms, join 100 ms, quorum tick 10 ms, groups 10 s"


def losses(folder: Path) -> list[Lost]:
    """Of a job of its own."""
    folder.mkdir()
    with lighthouse(folder / "lighthouse.log", **TIMEOUTS) as address:
        job = _Replicas(folder, address)
        try:
            return asyncio.run(
                killing.Killing(folder, job.replace, lambda _, killed: lost.noticed(folder, killed), LONGEST).losses()
            )
        finally:
            job.end()


class _Replicas:
    """One process each."""

    def __init__(self, folder: Path, lighthouse: str) -> None:
        self._folder, self._lighthouse = folder, lighthouse
        self._running = [self._start(rank) for rank in range(RANKS)]

    def replace(self, rank: int) -> None:
        """Kill one, start another."""
        self._running[rank].kill()
        self._running[rank].wait()
        self._running[rank] = self._start(rank)

    def end(self) -> None:
        for each in self._running:
            each.kill()
            each.wait()

    def _start(self, rank: int) -> "subprocess.Popen[bytes]":
        with (self._folder / f"{rank}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "bench.rejoin.managed", str(self._folder)],
                env={**os.environ, "RANK": str(rank), "TORCHFT_LIGHTHOUSE": self._lighthouse, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,  # noqa: PLW1509 nothing of this process holds a lock that it takes
            )
