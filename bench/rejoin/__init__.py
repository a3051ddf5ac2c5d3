"""How long is a job behind after one of three is killed: healed, under torchft, and restarted from a file?

The same small training, the same `kill -9`, in turns. Ours on both levels; torchft's Manager with its own heal and the
shortest timeouts that it was stable with; torchrun from a checkpoint, taken as often as Young and Daly say.
"""

import sys
import tempfile
from pathlib import Path

from bench.rejoin import checkpoints, figures, healing, managers, restarting, stable
from bench.rejoin.lost import Lost
from bench.table import Row

__all__ = ["rows"]
ROUNDS = 3


def rows() -> list[Row]:
    """Of each way, then the ratios."""
    seen: dict[str, list[Lost]] = {"level 2": [], "torchft": [], "level 1": [], "torchrun": []}
    plan = checkpoints.plan()
    with tempfile.TemporaryDirectory() as folder:
        timeouts = stable.shortest(Path(folder, "search"))
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            seen["level 2"] += healing.losses("level2", Path(folder, "level2"))
            seen["torchft"] += managers.losses(Path(folder, "torchft"), timeouts)
            seen["level 1"] += healing.losses("level1", Path(folder, "level1"))
            seen["torchrun"] += restarting.losses(plan, Path(folder, "torchrun"))
        behind = {name: [round(each.behind, 1) for each in found] for name, found in seen.items()}
        print(f"  round {number + 1}, seconds behind: {behind}", file=sys.stderr, flush=True)
    return [*plan.rows(), *figures.rows(seen, {"torchft": timeouts.note})]
