"""How is a measurement shown? One row for each, its target beside it."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """One measurement; `target` is the most that `value` may be, where there is a promise."""

    what: str
    value: float
    unit: str
    target: float | None = None
    note: str = ""

    @property
    def is_kept(self) -> bool:
        """Whether the promise holds."""
        return self.target is None or self.value <= self.target


def show(title: str, rows: Sequence[Row]) -> str:
    """The rows as lines of text."""
    width = max(len(row.what) for row in rows)
    return "\n".join([title, *(_line(row, width) for row in rows)])


def median_ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """Of the first to the second of each pair: what disturbs one disturbs its neighbour too."""
    return statistics.median(first / second for first, second in pairs)


def _line(row: Row, width: int) -> str:
    promise = "" if row.target is None else f"  at most {row.target:g}: {'kept' if row.is_kept else 'BROKEN'}"
    note = f"  {row.note}" if row.note else ""
    return f"  {row.what:<{width}}  {row.value:>9.3f} {row.unit:<5}{promise}{note}"
