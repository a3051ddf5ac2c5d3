"""When is a file saved, and what does it cost?

As often as Young and Daly say: each sqrt(2 x cost x time between failures).
"""

import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bench.rejoin.model import MODEL
from bench.table import Row
from checkpointheal.demo import reference

BETWEEN_FAILURES = 600.0
"""Seconds. Often, which is to the restart's advantage: the more failures, the closer the files."""
SAVES = 5
PARTS = ("model", "optimizer", "schedule")


class Plan(NamedTuple):
    """Seconds that a save takes, and from one to the next."""

    cost: float
    every: float

    def rows(self) -> list[Row]:
        return [
            Row("a save of the state by torch.save, median", self.cost, "s"),
            Row(
                "from one save to the next, by Young and Daly",
                self.every,
                "s",
                None,
                f"a failure each {BETWEEN_FAILURES:g} s",
            ),
        ]


class Kept:
    """The last file of one job."""

    def __init__(self, folder: Path, rank: int, every: float, parts: tuple[Any, ...]) -> None:
        self._file, self._is_first, self._every = folder / "last.pt", rank == 0, every
        self._parts = dict(zip(PARTS, parts, strict=True))
        self._saved = time.monotonic()

    def load(self) -> int:
        """The step of the last file; 0 where there is none."""
        if not self._file.exists():
            return 0
        state = torch.load(self._file, weights_only=True)
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        return int(state["step"])

    def save(self, step: int) -> None:
        """If it is time."""
        if self._is_first and time.monotonic() - self._saved >= self._every:
            self.write(step)
            self._saved = time.monotonic()

    def write(self, step: int) -> None:
        """Never a half one."""
        part = self._file.with_suffix(".part")
        torch.save({"step": step, **{name: each.state_dict() for name, each in self._parts.items()}}, part)
        part.replace(self._file)


def plan() -> Plan:
    """Measured with the bench's own model."""
    model, optimizer, schedule, text = reference.build(MODEL, 0)
    reference.train_step(model, optimizer, schedule, text)
    spent = []
    with tempfile.TemporaryDirectory() as folder:
        kept = Kept(Path(folder), 0, 0.0, (model, optimizer, schedule))
        for _ in range(SAVES):
            began = time.monotonic()
            kept.write(1)
            spent.append(time.monotonic() - began)
    cost = statistics.median(spent)
    return Plan(cost, math.sqrt(2 * cost * BETWEEN_FAILURES))
