"""How much longer does a training step take for being protected: in the loop, in the background, and on demand?

Blocks of steps without a commit, with one that copies before it returns, with one that copies beside the loop and with
one that copies nothing take turns in one process, in which torch has one thread. Another process plays the agent of
each, and digests each generation at low priority, as an agent does.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import checkpointheal
from bench.commit import agent
from bench.table import Row, median_ratio
from checkpointheal.arena import Arena
from checkpointheal.demo.reference import build, train_step
from checkpointheal.trainer.heal import Heal

ROUNDS, STEPS = 12, 3
MODEL = argparse.Namespace(steps=10_000, layers=6, width=768, heads=12, batch=1, length=288)
"""About 500 MB with its optimizer, and a second or more a step on one core."""
TARGETS = {"in the loop": 1.10, "in the background": 1.10, "on demand": 1.01}
"""Of a step's time without us."""


class Run:
    """One way to train: its commits, its time and what the process spent in it."""

    def __init__(self, step: Callable[[], object], heal: Heal | None) -> None:
        self._step, self._heal, self._number = step, heal, 0
        self.seconds: list[float] = []
        self.pauses: list[float] = []
        self.cpu: list[float] = []

    def block(self) -> None:
        """So many steps, and one before them that is not counted: a copy of another block's may end in it."""
        self._go_on()
        begun, spent = time.perf_counter(), _cpu_seconds()
        for _ in range(STEPS):
            self._go_on()
        self.seconds.append((time.perf_counter() - begun) / STEPS)
        self.cpu.append((_cpu_seconds() - spent) / STEPS)

    def end(self) -> None:
        """No commit follows."""
        if self._heal is not None:
            self._heal.done()

    def _go_on(self) -> None:
        self._step()
        if self._heal is not None:
            self._number += 1
            begun = time.perf_counter()
            self._heal.commit(self._number)
            self.pauses.append(time.perf_counter() - begun)


def rows() -> list[Row]:
    """Step times, their ratios with a spread, pauses and CPU-seconds of the trainer."""
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))) for _ in TARGETS]
        for folder in folders:
            stack.enter_context(agent(folder, digests=True))
        model, optimizer, schedule, text = build(MODEL, rank=0)
        parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "private": {"text": text}}

        def step() -> None:
            train_step(model, optimizer, schedule, text)

        plain = Run(step, None)
        protected = {
            name: Run(step, attached(name, folder, parts)) for name, folder in zip(TARGETS, folders, strict=True)
        }
        for _ in range(ROUNDS + 1):
            for each in (plain, *protected.values()):
                each.block()
        size = max(seal.data_bytes for seal in Arena.open(folders[0]).seals().values())
        for each in protected.values():
            each.end()
    found = [Row("state", size / 1e6, "MB"), Row("a step without us", statistics.median(plain.seconds[1:]), "s")]
    return found + [row for name, run in protected.items() for row in _shown(name, run, plain)]


def _shown(name: str, run: Run, plain: Run) -> Iterator[Row]:
    pairs = list(zip(run.seconds[1:], plain.seconds[1:], strict=True))
    ratios = sorted(first / second for first, second in pairs)
    spread = f"median of {len(pairs)} pairs, {ratios[0]:.3f} to {ratios[-1]:.3f}"
    yield Row(f"with a commit every step, {name}", median_ratio(pairs), "", TARGETS[name], spread)
    yield Row(f"commit() itself, {name}", statistics.median(run.pauses[STEPS + 1 :]), "s")
    spent = [ours - theirs for ours, theirs in zip(run.cpu[1:], plain.cpu[1:], strict=True)]
    yield Row(f"CPU of the trainer for it, {name}", statistics.median(spent), "CPU-s")


def attached(name: str, folder: Path, parts: dict[str, Any]) -> Heal:
    """Attached to its own agent; three of them in one process, which a training never has."""
    os.environ |= {"CHECKPOINTHEAL_ARENA": str(folder), "RANK": "0", "WORLD_SIZE": "1", "GLOO_SOCKET_IFNAME": "lo"}
    heal = checkpointheal.attach(
        **parts, background=name == "in the background", on_demand=(on_demand := name == "on demand")
    )
    if on_demand:
        next(iter(heal.epochs()))
    else:
        heal.restore()
    return heal


def _cpu_seconds() -> float:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime
