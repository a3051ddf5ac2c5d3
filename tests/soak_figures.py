"""What do samples of one process over an hour come to: does it grow?"""

import statistics
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

BLOCKS = 12
"""Neighbouring samples tell nearly the same: a slope is drawn through their means over so many parts of the time."""
STUDENT_10 = 2.228
"""97.5 % of Student's distribution of ten degrees of freedom: two less than blocks."""
TYPES = 10
"""Of whose objects there are more than before are told."""
GROWTH = 1.0
"""MiB, descriptors or threads an hour that are promised not to be exceeded."""
MEASURED = (("mebibytes", "MiB"), ("descriptors", "descriptors"), ("threads", "threads"))


class Sample(NamedTuple):
    at: float
    mebibytes: float
    descriptors: int
    threads: int


def slope(samples: list[Sample], what: str) -> tuple[float, float]:
    """An hour's growth, and half the width of its interval of 95 %."""
    if (size := len(samples) // BLOCKS) == 0:
        raise ValueError(f"{len(samples)} samples after the warm-up are too few for a slope")
    parts = [samples[at : at + size] for at in range(0, size * BLOCKS, size)]
    xs = [statistics.fmean(each.at for each in part) / 3600 for part in parts]
    ys = [statistics.fmean(float(getattr(each, what)) for each in part) for part in parts]
    line = statistics.linear_regression(xs, ys)
    mean = statistics.fmean(xs)
    spread = sum((x - mean) ** 2 for x in xs)
    off = sum((y - line.slope * x - line.intercept) ** 2 for x, y in zip(xs, ys, strict=True))
    return line.slope, STUDENT_10 * (off / (BLOCKS - 2) / spread) ** 0.5


def told(samples: list[Sample], objects: list[Counter[str]]) -> Iterator[str]:
    """Lines: what grew, in an hour; and of which types there are more than before."""
    for what, unit in MEASURED:
        found, half = slope(samples, what)
        least, most = (pick(getattr(each, what) for each in samples) for pick in (min, max))
        yield f"{unit}: {found:+.2f} ± {half:.2f} an hour; between {least:.1f} and {most:.1f} ({len(samples)} samples)"
    before, after = objects
    for name, number in (after - before).most_common(TYPES):
        yield f"{number:+} {name}: {before[name]}, then {after[name]}"


def has_grown(samples: list[Sample]) -> bool:
    """By more than is promised, with a certainty of 95 %."""
    slopes = (slope(samples, what) for what, _ in MEASURED)
    return any(found - half > GROWTH for found, half in slopes)


def kept(samples: list[Sample]) -> dict[str, Any]:
    """As they are kept in a file."""
    rows = [[round(each.at, 1), round(each.mebibytes, 2), each.descriptors, each.threads] for each in samples]
    return {"columns": ["seconds", "MiB", "descriptors", "threads"], "samples": rows}
