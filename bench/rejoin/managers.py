"""torchft: its Manager, its own transport, survivors that go on alone; a lost rank is started again at once."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.lighthouse import lighthouse
from bench.machine import end_with_parent
from bench.rejoin import killing, lost
from bench.rejoin.healing import LONGEST
from bench.rejoin.lost import RANKS, Lost


class Timeouts(NamedTuple):
    """After how long without a heartbeat is a replica lost, how long is one waited for, and how long does a collective
    have? Milliseconds, the last one seconds. As they are, the Manager sends its heartbeat each 100 ms."""

    heartbeat: int
    join: int
    group: float

    @property
    def note(self) -> str:
        return f"heartbeat {self.heartbeat} ms, join {self.join} ms, quorum tick 10 ms, groups {self.group:g} s"


def losses(folder: Path, timeouts: Timeouts) -> list[Lost]:
    """Of a job of its own."""
    with job(folder, timeouts) as replicas:
        return asyncio.run(replicas.losses())


@contextlib.contextmanager
def job(folder: Path, timeouts: Timeouts) -> Iterator["Replicas"]:
    """That trains, until the end of the block."""
    folder.mkdir()
    options = {"min_replicas": RANKS - 1, "quorum_tick_ms": 10}
    options |= {"join_timeout_ms": timeouts.join, "heartbeat_timeout_ms": timeouts.heartbeat}
    with lighthouse(folder / "lighthouse.log", **options) as address:
        replicas = Replicas(folder, address, timeouts.group)
        try:
            yield replicas
        finally:
            replicas.end()


class Replicas:
    """One process each."""

    def __init__(self, folder: Path, lighthouse: str, group: float) -> None:
        self.folder, self._lighthouse, self._group = folder, lighthouse, group
        self._running = [self._start(rank) for rank in range(RANKS)]

    async def losses(self) -> list[Lost]:
        """Of each rank, killed in its turn."""
        kills = killing.Killing(self.folder, self.replace, lambda _, killed: lost.noticed(self.folder, killed), LONGEST)
        return await kills.losses()

    def settled(self) -> float:
        """When all had made a few updates together: who comes late is none that is lost."""
        return max(lost.at(self.folder, rank, killing.SETTLED) for rank in range(RANKS))

    def ended(self) -> int | None:
        """A rank whose process is over."""
        return next((rank for rank, each in enumerate(self._running) if each.poll() is not None), None)

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
        with (self.folder / f"{rank}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "bench.rejoin.managed", str(self.folder), str(self._group)],
                env={**os.environ, "RANK": str(rank), "TORCHFT_LIGHTHOUSE": self._lighthouse, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,  # noqa: PLW1509 nothing of this process holds a lock that it takes
            )
