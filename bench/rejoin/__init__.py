"""How long is a job behind after one of three is killed: healed, under torchft, and restarted from a file?

The same small training, the same `kill -9`, in turns. Ours on both levels; torchft's Manager with its own heal and the
shortest timeouts that it was stable with; torchrun from a checkpoint, taken as often as Young and Daly say.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from bench.rejoin import checkpoints, healing, managers, restarting
from bench.rejoin.lost import Lost
from bench.table import Row

__all__ = ["rows"]
ROUNDS = 3
FASTER, OF_TORCHFT = 5.0, 0.7


def rows() -> list[Row]:
    """Of each, then the ratios of medians."""
    seen: dict[str, list[Lost]] = {"level 2": [], "level 1": [], "torchft": [], "torchrun": []}
    plan = checkpoints.plan()
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            seen["level 2"] += healing.losses("level2", Path(folder, "level2"))
            seen["torchft"] += managers.losses(Path(folder, "torchft"))
            seen["level 1"] += healing.losses("level1", Path(folder, "level1"))
            seen["torchrun"] += restarting.losses(plan, Path(folder, "torchrun"))
        print(
            f"  round {number + 1}: {[(name, [each.behind for each in found]) for name, found in seen.items()]}",
            file=sys.stderr,
        )
    return [*plan.rows(), *(row for name, found in seen.items() for row in _of(name, found)), *_ratios(seen)]


def _of(name: str, found: list[Lost]) -> list[Row]:
    notes = {"torchft": managers.NOTE}
    parts = {"detect": [each.detect for each in found], "restart": [each.restart for each in found]}
    parts |= {"transfer and rejoin": [each.rejoin for each in found], "updates again": [each.again for each in found]}
    behind = [each.behind for each in found]
    return [
        Row(
            f"{name}: behind, detection apart, median",
            statistics.median(behind),
            "s",
            None,
            _note(found, notes.get(name)),
        ),
        Row(f"{name}: behind, worst", max(behind), "s"),
        *(Row(f"{name}: of which {part}, median", statistics.median(each), "s") for part, each in parts.items()),
    ]


def _note(found: list[Lost], more: str | None) -> str:
    return "; ".join(each for each in (f"{len(found)} kills", more) if each)


def _ratios(seen: dict[str, list[Lost]]) -> list[Row]:
    behind = {name: statistics.median(each.behind for each in found) for name, found in seen.items()}
    rejoin = {name: statistics.median(each.rejoin for each in found) for name, found in seen.items()}
    return [
        Row("level 2: time behind, to torchrun's", behind["level 2"] / behind["torchrun"], "", 1 / FASTER),
        Row("level 1: time behind, to torchrun's", behind["level 1"] / behind["torchrun"], "", 1 / FASTER),
        Row("level 2: transfer and rejoin, to torchft's", rejoin["level 2"] / rejoin["torchft"], "", OF_TORCHFT),
    ]
