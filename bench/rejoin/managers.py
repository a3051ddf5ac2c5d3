"""torchft: its Manager, its own transport, survivors that go on alone; a lost rank is started again at once."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from bench.machine import end_with_parent
from bench.rejoin import killing, lost
from bench.rejoin.healing import LONGEST
from bench.rejoin.lost import RANKS, Lost

HEARTBEAT_MS, JOIN_MS, TICK_MS = 500, 100, 10
NOTE = f"heartbeat {HEARTBEAT_MS} ms, join {JOIN_MS} ms, quorum tick {TICK_MS} ms, groups 10 s"
LOCALHOST = "127.0.0.1"


def losses(folder: Path) -> list[Lost]:
    """Of a job of its own."""
    from torchft.coordination import LighthouseServer  # noqa: PLC0415 it may be absent

    folder.mkdir()
    lighthouse = LighthouseServer(
        bind=f"{LOCALHOST}:0",
        min_replicas=RANKS - 1,
        join_timeout_ms=JOIN_MS,
        quorum_tick_ms=TICK_MS,
        heartbeat_timeout_ms=HEARTBEAT_MS,
    )
    job = _Replicas(folder, lighthouse.address())
    try:
        return asyncio.run(
            killing.Killing(folder, job.replace, lambda _, killed: lost.noticed(folder, killed), LONGEST).losses()
        )
    finally:
        job.end()
        lighthouse.shutdown()


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
