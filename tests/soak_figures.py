"""What do samples of one process over an hour come to: does it grow?"""

import statistics
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""97.5 % of Student's distribution, of one degree of freedom and more."""
SHORTEST = 60.0
"""Seconds of a turn: one that the warm-up or the end cut to less tells of its beginning alone."""
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
    leading: bool


class Turn(NamedTuple):
    """One while that it led, or followed: neighbouring samples tell nearly the same."""

    hours: float
    value: float
    leading: bool


def turns(samples: list[Sample], what: str) -> list[Turn]:
    """The median of each: winning the lead is a peak of seconds."""
    found = []
    for leading, group in groupby(samples, lambda each: each.leading):
        part = list(group)
        if part[-1].at - part[0].at >= SHORTEST:
            hours = statistics.median(each.at for each in part) / 3600
            found.append(Turn(hours, statistics.median(float(getattr(each, what)) for each in part), leading))
    return found


def slope(samples: list[Sample], what: str) -> tuple[float, float]:
    """An hour's growth, and half the width of its interval of 95 %.

    It holds more while it leads than while it follows: one slope for both, each about its own mean.
    """
    found = turns(samples, what)
    roles = [part for part in ([each for each in found if each.leading is role] for role in (True, False)) if part]
    free = len(found) - len(roles) - 1
    if free < 1:
        raise ValueError(f"{len(found)} turns after the warm-up are too few for a slope")
    points = [point for part in roles for point in _about_their_mean(part)]
    spread = sum(x * x for x, _ in points)
    rise = sum(x * y for x, y in points) / spread
    off = sum((y - rise * x) ** 2 for x, y in points)
    return rise, STUDENT[min(free, len(STUDENT)) - 1] * (off / free / spread) ** 0.5


def _about_their_mean(part: list[Turn]) -> list[tuple[float, float]]:
    x, y = statistics.fmean(each.hours for each in part), statistics.fmean(each.value for each in part)
    return [(each.hours - x, each.value - y) for each in part]


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
    rows = [[round(at, 1), round(mebibytes, 2), *others] for at, mebibytes, *others in samples]
    return {"columns": ["seconds", "MiB", "descriptors", "threads", "leading"], "samples": rows}
