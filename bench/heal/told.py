"""What did a trainer of the bench write down?"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def restored(folder: Path, rank: int, since: float) -> float:
    """Seconds from the rank's first `attach()` after that moment until its `restore()` returned."""
    return seconds((folder / f"progress-{rank}.jsonl").read_text().splitlines(), since)


def seconds(lines: Iterable[str], since: float) -> float:
    """The same, of what a file holds."""
    said: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return next(float(each["seconds"]) for each in said if each["event"] == "restored" and each["began"] >= since)
