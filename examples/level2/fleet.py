"""The trainers of one run, and the little of agent and operator that epochs need.

Sees the victim die, says that the epoch is over, starts it again, and begins the next epoch at the highest step that
every survivor can go back to. Knows nothing of tensors.
"""

import itertools
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch.distributed as dist

import trainer

VICTIM = 1
PATIENCE = 90.0
"""Seconds without any progress of the run before it counts as stuck."""


class Stuck(Exception):
    """The run did not come to its end."""


class Fleet:
    """`size` trainers, each `shards` of them one replica. `epochs` and `started` count what happened."""

    def __init__(self, told: list[str], out: Path, size: int, shards: int) -> None:
        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self._told, self._out = [*told, f"--size={size}", f"--port={self._store.port}"], out
        # Forked from a process that has torch loaded, and the part of it that the first optimizer step loads.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([trainer.__name__, "torch._dynamo"])
        self._trainers: dict[int, BaseProcess] = {}
        self.size, self._shards = size, shards
        self.epochs = self.started = 0

    def conduct(self, death: list[str]) -> None:
        """From the first epoch to the last. `death`: where the victim's first life ends. Raises Stuck."""
        for rank in range(self.size):
            self._start(rank, death if rank == VICTIM else [])
        for self.epochs in itertools.count(1):
            self._begin(self.epochs)
            self._until(lambda: self._all_done() or self._died(VICTIM))
            if self._all_done():
                return
            self._store.add("ended", 1)
            self._store.set(f"{self.epochs}/over", "")
            self._start(VICTIM, [])

    def close(self) -> None:
        """End what still runs."""
        for each in self._trainers.values():
            each.kill()
            each.join()

    def _start(self, rank: int, death: list[str]) -> None:
        told = [*self._told, f"--rank={rank}", *death]
        self._trainers[rank] = self._context.Process(target=trainer.run, args=(told, self._out))
        self._trainers[rank].start()
        self.started += 1

    def _begin(self, epoch: int) -> None:
        """When all wait: choose the step, and for each rank whom it has its state from; itself where it holds it."""
        self._until(lambda: self._store.check([f"{epoch}/waits/{rank}" for rank in range(self.size)]))
        told = {rank: self._store.get(f"{epoch}/waits/{rank}").decode() for rank in range(self.size)}
        held = {rank: {int(step) for step in steps.split(",")} for rank, steps in told.items() if steps}
        donors = [rank if rank in held else self._donor(rank, held) for rank in range(self.size)]
        step = self._restore_step(held)
        self._store.set(f"{epoch}/begins", ",".join(map(str, [step, *donors])))

    def _restore_step(self, held: dict[int, set[int]]) -> int:
        """The highest step that all survivors hold, and of which a buddy has the private part of everybody else."""
        empty = [rank for rank in range(self.size) if rank not in held]
        common = set.intersection(*held.values()) if held else {0}
        return max(s for s in common if s == 0 or self._store.check([f"private/{rank}/{s}" for rank in empty]))

    def _donor(self, rank: int, held: dict[int, set[int]]) -> int:
        """A peer: the first rank of the same coordinate that holds anything, or the first of all."""
        coordinate = rank % self._shards
        return min((each for each in held if each % self._shards == coordinate), default=coordinate)

    def _all_done(self) -> bool:
        return all(each.exitcode == 0 for each in self._trainers.values())

    def _died(self, rank: int) -> bool:
        return self._trainers[rank].exitcode not in (None, 0)

    def _until(self, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not happened():
            if dead := [rank for rank in self._trainers if rank != VICTIM and self._died(rank)]:
                raise Stuck(f"survivor {dead[0]} failed")
            if time.monotonic() > deadline:
                raise Stuck("nothing moved any more")
            time.sleep(0.02)
