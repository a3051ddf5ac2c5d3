"""Replicas of a torchft job: groups that are configured as its Manager does it, and processes beside a lighthouse."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore
from torchft.coordination import LighthouseServer
from torchft.process_group import ProcessGroupGloo

import builders_ends
from checkpointheal.integrations.torchft import HealTransport

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
SECONDS = timedelta(seconds=20)
PATIENCE = 90.0


class Quorums:
    """Groups of one job, which meet at a store of their own for each quorum."""

    def __init__(self, groups: list[Any]) -> None:
        self.groups = groups
        self._store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self._numbers = itertools.count(1)
        self.next()

    def next(self) -> None:
        """The same replicas, in a new quorum."""
        address = f"127.0.0.1:{self._store.port}/quorum/{next(self._numbers)}"
        builders_ends.side_by_side(
            *[
                lambda rank=rank, group=group: group.configure(address, f"replica_{rank}", rank, len(self.groups))
                for rank, group in enumerate(self.groups)
            ]
        )


def gloo(count: int) -> Quorums:
    return Quorums([ProcessGroupGloo(timeout=SECONDS) for _ in range(count)])


def transports(quorums: Quorums, **options: Any) -> list[HealTransport[Any]]:
    """One of each replica."""
    return [HealTransport(group, SECONDS, CPU, **options) for group in quorums.groups]


def sends(transport: Any, ranks: list[int], state: Any, step: int = 7) -> Callable[[], None]:
    return lambda: transport.send_checkpoint(dst_ranks=ranks, step=step, state_dict=state, timeout=SECONDS)


def receives(transport: Any, step: int = 7, timeout: timedelta = SECONDS) -> Callable[[], Any]:
    return lambda: transport.recv_checkpoint(src_rank=0, metadata=transport.metadata(), step=step, timeout=timeout)


class Replica:
    """A process of `examples/torchft_ddp.py`, and what it has printed: the digest after each step."""

    def __init__(self, number: int, lighthouse: str, folder: Path, *options: str) -> None:
        self._said, self._log = (folder / f"{number}-{time.monotonic_ns()}.{kind}" for kind in ("out", "log"))
        with self._said.open("w") as out, self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "examples/torchft_ddp.py"), "--replica", str(number), *options],
                env={**os.environ, "TORCHFT_LIGHTHOUSE": lighthouse, "OMP_NUM_THREADS": "1"},
                stdout=out,
                stderr=log,
            )

    @property
    def steps(self) -> list[tuple[int, str]]:
        """Steps that it has come to, in order, and the digest of its state there."""
        lines = self._said.read_text().splitlines(keepends=True)
        return [(int(line.split()[3]), line.split()[4]) for line in lines if line.endswith("\n")]

    def until(self, step: int) -> None:
        """Wait for it to have come that far."""
        deadline = time.monotonic() + PATIENCE
        while not self.steps or self.steps[-1][0] < step:
            assert self.process.poll() is None or self.steps[-1][0] >= step, self._log.read_text()[-4000:]
            assert time.monotonic() < deadline, self._log.read_text()[-4000:]
            time.sleep(0.05)

    def end(self) -> None:
        """As the kernel does it, without a word."""
        self.process.kill()
        self.process.wait()


@contextmanager
def a_job(folder: Path, fewest: int) -> Iterator[Callable[..., Replica]]:
    """A lighthouse on loop-back, and how a replica is started beside it; all are ended."""
    lighthouse = LighthouseServer(
        bind="127.0.0.1:0", min_replicas=fewest, join_timeout_ms=1000, heartbeat_timeout_ms=2000
    )
    running: list[Replica] = []

    def start(number: int, *options: str) -> Replica:
        running.append(Replica(number, lighthouse.address(), folder, "--fewest", str(fewest), *options))
        return running[-1]

    try:
        yield start
    finally:
        for replica in running:
            replica.end()
        lighthouse.shutdown()
