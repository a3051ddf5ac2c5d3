"""What did one kill cost? Read from what the ranks wrote: `progress-RANK.jsonl`, whoever trained them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

RANKS = 3


class Lost(NamedTuple):
    """Of one kill. Seconds."""

    detect: float
    """From the kill until somebody acted on it."""
    restart: float
    """From there until the lost rank's new process had made its model."""
    rejoin: float
    """From there until it had made an update with the others: whatever it takes to have the state and the group."""
    again: float
    """From there until every rank had made one update more than any had before the kill."""

    @property
    def behind(self) -> float:
        """Detection apart."""
        return self.restart + self.rejoin + self.again


def said(folder: Path, rank: int) -> list[dict[str, Any]]:
    """Its lines; the last one may be in the writing."""
    file = folder / f"progress-{rank}.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def step(folder: Path, rank: int) -> int:
    """The highest that it has come to."""
    return max((each["step"] for each in _steps(folder, rank, 0.0)), default=0)


def highest(folder: Path) -> int:
    return max(step(folder, rank) for rank in range(RANKS))


def updates(folder: Path, since: float) -> int:
    """The fewest that a rank has made since then."""
    return min(sum(1 for _ in _steps(folder, rank, since)) for rank in range(RANKS))


def at(folder: Path, rank: int, step: int) -> float:
    """When it had come to that step first."""
    return next(each["at"] for each in _steps(folder, rank, 0.0) if each["step"] >= step)


def past(folder: Path, step: int, since: float) -> float | None:
    """When the last rank had made an update beyond that step."""
    found = [next((e["at"] for e in _steps(folder, rank, since) if e["step"] > step), None) for rank in range(RANKS)]
    moments = [each for each in found if each is not None]
    return max(moments) if len(moments) == RANKS else None


def lost(folder: Path, rank: int, killed: float, before: int, noticed: float) -> Lost:
    """Once the job is past it. `before`: the highest step; `noticed`: when somebody acted."""
    ready = next(each["at"] for each in said(folder, rank) if each["event"] == "ready" and each["at"] > killed)
    joined = next(each["at"] for each in _steps(folder, rank, ready))
    over = past(folder, before, killed)
    if over is None:
        raise ValueError("the job is not past it yet")
    return Lost(noticed - killed, ready - noticed, joined - ready, max(0.0, over - joined))


def noticed(folder: Path, killed: float) -> float | None:
    """When the first of the survivors said that it noticed."""
    found = (each["at"] for rank in range(RANKS) for each in said(folder, rank) if each["event"] == "noticed")
    return min((at for at in found if at > killed), default=None)


def _steps(folder: Path, rank: int, since: float) -> Iterator[dict[str, Any]]:
    return (each for each in said(folder, rank) if each["event"] == "step" and each["at"] > since)
