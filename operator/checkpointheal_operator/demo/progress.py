"""How far is each rank of a training script, by what it writes itself?

The scripts of the demo append one JSON object a line to `progress-RANK.jsonl`, the plain one and the healed one alike,
so that the same eyes watch both. Must not know who started them.
"""

import json
from pathlib import Path
from typing import NamedTuple


class Line(NamedTuple):
    """One thing that a rank said."""

    rank: int
    at: float
    """Seconds of the wall clock."""
    event: str
    step: int | None


class Progress:
    """Everything that `ranks` ranks have said so far, read on as it grows."""

    def __init__(self, folder: Path, ranks: int) -> None:
        self._files = [folder / f"progress-{rank}.jsonl" for rank in range(ranks)]
        self._read = [0] * ranks
        self.lines: list[list[Line]] = [[] for _ in range(ranks)]

    def look(self) -> bool:
        """Read what is new; whether there was anything."""
        found = [self._look(rank) for rank in range(len(self._files))]
        return any(found)

    def step(self, rank: int) -> int:
        """Updates that the rank has completed, as it last said; 0 before the first."""
        return next((line.step for line in reversed(self.lines[rank]) if line.step is not None), 0)

    @property
    def behind(self) -> int:
        """The lowest step of all ranks."""
        return min(self.step(rank) for rank in range(len(self._files)))

    def reached(self, step: int, since: float) -> float | None:
        """When the last rank had completed `step` after `since`; None while one has not."""
        moments = [self._reached(rank, step, since) for rank in range(len(self._files))]
        known = [moment for moment in moments if moment is not None]
        return max(known) if len(known) == len(moments) else None

    def computed_again(self) -> int:
        """Optimizer updates that ranks computed more than once: the steps lost, over all ranks."""
        updates = [[line.step for line in lines if line.event == "step"] for lines in self.lines]
        return sum(len(steps) - len(set(steps)) for steps in updates)

    def _look(self, rank: int) -> bool:
        if not self._files[rank].exists():
            return False
        with self._files[rank].open("rb") as file:
            file.seek(self._read[rank])
            whole = file.read().rpartition(b"\n")[0]
        for line in whole.splitlines():
            said = json.loads(line)
            self.lines[rank].append(Line(rank, said["at"], said["event"], said.get("step")))
        self._read[rank] += len(whole) + 1 if whole else 0
        return bool(whole)

    def _reached(self, rank: int, step: int, since: float) -> float | None:
        later = (line for line in self.lines[rank] if line.event == "step" and line.at >= since)
        return next((line.at for line in later if line.step is not None and line.step >= step), None)
