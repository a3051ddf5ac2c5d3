"""What do many heals come to? One `Sample` a heal; rows with what was promised of them."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from bench.samples import percentile
from bench.table import Row

MODEL = ("--layers", "3", "--width", "392", "--heads", "8")
MEBIBYTES = 64.8
P50, P99, SHARE = 2.0, 6.0, 0.5
ENOUGH = 200
"""Samples of which a 99th percentile is one."""


class Sample(NamedTuple):
    """One heal. Times in seconds."""

    rung: str
    restored: float
    """From `attach()` until `restore()` returned."""
    past: float
    """From the harm until every rank had completed one step more than before it."""
    shares: tuple[float, ...] = ()
    """Of the operator: from the last report with news to each decision that followed from it."""
    phases: dict[str, float] = {}  # noqa: RUF012 of a tuple, and never changed


def rows(samples: Sequence[Sample]) -> list[Row]:
    """Of all heals, then of each rung's."""
    every = [each.restored for each in samples]
    few = "" if len(every) >= ENOUGH else f"too few for a 99th percentile: {ENOUGH} are needed"
    found = [
        Row("state", MEBIBYTES, "MiB"),
        Row("heals", len(every), ""),
        Row("attach() to restore()'s return: p50", percentile(every, 50), "s", P50),
        Row("attach() to restore()'s return: p99", percentile(every, 99), "s", P99, few),
    ]
    for rung in sorted({each.rung for each in samples}):
        found += _of(rung, [each for each in samples if each.rung == rung])
    if shares := [share for each in samples for share in each.shares]:
        found.append(Row("operator's own share: p50", percentile(shares, 50), "s", None, f"{len(shares)} decisions"))
        found.append(Row("operator's own share: p99", percentile(shares, 99), "s", SHARE))
    return found


def _of(rung: str, samples: Sequence[Sample]) -> list[Row]:
    restored = [each.restored for each in samples]
    found = [
        Row(f"{rung}: p50", percentile(restored, 50), "s", None, f"{len(samples)} heals"),
        Row(f"{rung}: worst", max(restored), "s"),
        Row(f"{rung}: harm to every rank past its step, p50", percentile([each.past for each in samples], 50), "s"),
    ]
    for name in dict.fromkeys(name for each in samples for name in each.phases):
        seconds = [each.phases[name] for each in samples if name in each.phases]
        found.append(Row(f"{rung}: of which {name}, median", statistics.median(seconds), "s"))
    return found
