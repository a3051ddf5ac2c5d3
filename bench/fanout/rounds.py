"""What does the donor's trainer see? Its blocks of steps, and the ratios that come of them.

The recipients' own work is not a donor's: their processes stand back, and take what is left of the machine. The
donor's agent and its transfers have the priority that they have in a pod.
"""

import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import torch

import checkpointheal
from bench.fanout.crew import Given, Stage, stage
from bench.steady import MODEL, Run
from bench.table import Row, median_ratio
from checkpointheal.arena import Arena
from checkpointheal.demo.reference import build, train_step

ROUNDS = 12
LEFT_OUT = 2
"""At either end: between the third and the tenth of twelve ratios lies their median, with 96 % certainty."""
CAP = 100_000_000
"""Bytes a second for each recipient."""
NO_CAP = 0
TARGET = 1.05
"""Of a step's time without transfers."""


class Way(NamedTuple):
    """How a donor gives, and under which cap in bytes a second; 0: none."""

    name: str
    cap: int


WAYS = (Way("two recipients", NO_CAP), Way(f"two recipients, {CAP / 1e6:g} MB/s each at most", CAP))


class Blocks:
    """Blocks of steps, by the way in which the donor gave meanwhile; the plain ones under None."""

    def __init__(self, donor: Stage, step: Callable[[], object]) -> None:
        self._donor = donor
        self.runs: dict[Way | None, Run] = {way: Run(step, None) for way in (None, *WAYS)}
        self.given: dict[Way, list[Given]] = {way: [] for way in WAYS}

    def round(self, number: int) -> None:
        """One block of each; every other round in the opposite order."""
        for way, run in list(self.runs.items())[:: -1 if number % 2 else 1]:
            if way is None:
                run.block()
            else:
                self._donor.give(way.cap)
                run.block()
                self.given[way].append(self._donor.rest())

    def rows(self) -> Iterator[Row]:
        """The first round maps what the others use again."""
        plain = self.runs[None].seconds[1:]
        yield Row("a step while nobody receives", statistics.median(plain), "s")
        for way in WAYS:
            yield from shown(way, list(zip(self.runs[way].seconds[1:], plain, strict=True)), self.given[way][1:])


def rows(rounds: int = ROUNDS) -> list[Row]:
    """Step times, their ratios with a spread, and what crossed."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        donor = stack.enter_context(stage(folder))
        step, done = _trainer(donor.arena)
        stack.callback(done)
        step()
        blocks = Blocks(donor, step)
        for number in range(rounds + 1):
            blocks.round(number)
        size = max(seal.data_bytes for seal in Arena.open(donor.arena).seals().values())
        return [Row("state", size / 1e6, "MB"), *blocks.rows()]


def shown(way: Way, pairs: Sequence[tuple[float, float]], given: Sequence[Given]) -> Iterator[Row]:
    """Of pairs of blocks with transfers and without: the ratio of their steps, and what crossed meanwhile."""
    ratios = sorted(first / second for first, second in pairs)
    inner = ratios[LEFT_OUT : len(ratios) - LEFT_OUT] or ratios
    spread = f"median of {len(pairs)} pairs, 96 % between {inner[0]:.3f} and {inner[-1]:.3f}"
    yield Row(f"step with {way.name}", median_ratio(pairs), "", TARGET, spread)
    rate = sum(each.bytes for each in given) / sum(each.seconds for each in given) / 1e6
    ended = sum(each.verified for each in given)
    yield Row(f"given meanwhile to {way.name}", rate, "MB/s", None, f"{ended} states arrived whole")


def _trainer(arena: Path) -> tuple[Callable[[], None], Callable[[], None]]:
    """A step with its commit, and how to leave; one thread."""
    torch.set_num_threads(1)
    os.environ |= {"CHECKPOINTHEAL_ARENA": str(arena), "RANK": "0", "WORLD_SIZE": "1", "GLOO_SOCKET_IFNAME": "lo"}
    model, optimizer, schedule, text = build(MODEL, rank=0)
    heal = checkpointheal.attach(model=model, optimizer=optimizer, schedule=schedule, private={"text": text})
    number = heal.restore() or 0

    def step() -> None:
        nonlocal number
        number += 1
        train_step(model, optimizer, schedule, text)
        heal.commit(number)

    return step, heal.done
