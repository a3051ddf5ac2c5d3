"""What does a commit that copies nothing hold the training thread up for, and when has the agent what it hands over?

A commit on demand of 500 MB after each step. What the owners of a state take for their `state_dict()` is theirs, and
told apart; the rest is ours. What is handed over goes on beside the loop: its lag is from the return of `commit()`
until the answer has come back from a process that plays the agent.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from bench.commit import agent
from bench.steady import MODEL, attached
from bench.table import Row
from checkpointheal.demo.reference import build, train_step

WARM, COMMITS = 5, 40
TARGET = 100.0
MICROSECONDS = 1e6


class Spent(NamedTuple):
    """Seconds of one commit: all of it, what its owners took of that, and until the agent had answered afterwards."""

    whole: float
    owners: float
    lag: float


def rows() -> list[Row]:
    """Medians, in microseconds."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, agent(Path(folder)):
        spent = _commits(Path(folder))[WARM:]
    kept = f"median of {COMMITS}"
    ours = [each.whole - each.owners for each in spent]
    return [
        Row("commit(), all of it", _median([each.whole for each in spent]), "us", None, kept),
        Row("state_dict() of its parts", _median([each.owners for each in spent]), "us"),
        Row("ours on the training thread", _median(ours), "us", TARGET, f"best {min(ours) * MICROSECONDS:.0f} us"),
        Row("until the agent has answered", _median([each.lag for each in spent]), "us", None, "beside the loop"),
    ]


def _median(seconds: list[float]) -> float:
    return statistics.median(seconds) * MICROSECONDS


def _commits(folder: Path) -> list[Spent]:
    model, optimizer, schedule, text = build(MODEL, rank=0)
    owners = Owners()
    for part in (model, optimizer, schedule, text):
        owners.watch(part)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "private": {"text": text}}
    heal = attached("on demand", folder, parts)
    spent = []
    for step in range(1, WARM + COMMITS + 1):
        train_step(model, optimizer, schedule, text)
        owners.seconds, began = 0.0, time.perf_counter()
        heal.commit(step)
        returned = time.perf_counter()
        heal._keeping.settle()  # noqa: SLF001 what the next update would wait for
        spent.append(Spent(returned - began, owners.seconds, time.perf_counter() - returned))
    heal.done()
    return spent


class Owners:
    """Those of the parts of a state, and how long their `state_dict()` takes."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def watch(self, part: Any) -> None:
        """From now on it is of a class of its own, which keeps the time: a schedule's state is all that it holds."""
        owners, kind = self, type(part)

        class Watched(kind):  # type: ignore[misc, valid-type]
            def state_dict(self, *arguments: Any, **options: Any) -> Any:
                began = time.perf_counter()
                told = super().state_dict(*arguments, **options)
                owners.seconds += time.perf_counter() - began
                return told

        part.__class__ = Watched
