"""What do the losses of each way come to? Medians, and ratios of medians to what was promised. Pure."""

import statistics
from collections.abc import Mapping, Sequence

from bench.rejoin.lost import Lost
from bench.table import Row

FASTER, OF_TORCHFT = 5.0, 0.7


def rows(seen: Mapping[str, Sequence[Lost]], notes: Mapping[str, str]) -> list[Row]:
    """Of each way, then the ratios."""
    return [*(row for name, found in seen.items() for row in _of(name, found, notes.get(name))), *_ratios(seen)]


def _of(name: str, found: Sequence[Lost], note: str | None) -> list[Row]:
    parts = {
        "detect": [each.detect for each in found],
        "restart": [each.restart for each in found],
        "transfer and rejoin": [each.rejoin for each in found],
        "updates again": [each.again for each in found],
    }
    behind, kills = [each.behind for each in found], f"{len(found)} kills"
    return [
        Row(f"{name}: behind, detection apart, median", statistics.median(behind), "s", None, note or kills),
        Row(f"{name}: behind, worst", max(behind), "s"),
        *(Row(f"{name}: {part}, median", statistics.median(each), "s") for part, each in parts.items()),
    ]


def _ratios(seen: Mapping[str, Sequence[Lost]]) -> list[Row]:
    behind = {name: statistics.median(each.behind for each in found) for name, found in seen.items()}
    rejoin = {name: statistics.median(each.rejoin for each in found) for name, found in seen.items()}
    return [
        *(
            Row(f"{level}: time behind, to torchrun's", behind[level] / behind["torchrun"], "", 1 / FASTER)
            for level in ("level 2", "level 1")
        ),
        Row("level 2: transfer and rejoin, to torchft's", rejoin["level 2"] / rejoin["torchft"], "", OF_TORCHFT),
    ]
