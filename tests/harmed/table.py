"""How is shown what became of each example? Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from checkpointheal_operator.core.phases import PHASES
from harmed.ordeal import Harm, medians
from harmed.verdict import Suffered


@dataclass(frozen=True)
class Row:
    """One example."""

    name: str
    level: int
    ranks: int
    suffered: Suffered
    compared: int
    """Fingerprints of parts, and updates, over all ranks."""
    harms: Sequence[Harm]
    seconds: float
    short: Sequence[str]


WHOLE = ("example", "level", "ranks", "kills", "identical", "survivors kept", "back", "again", "past it", "worst")
SECONDS = ("example", "healed from", "heals", *PHASES)


def progress(row: Row) -> str:
    """One line, as soon as it is known."""
    kills = f"{row.suffered.happened} of {row.suffered.planned} kills"
    return f"{row.name}: {'; '.join(row.short) or 'as if nothing had been'} ({kills}, {row.seconds:.0f} s)"


def raw(row: Row) -> dict[str, Any]:
    """Everything but each single step."""
    found = asdict(row)
    del found["suffered"]["told"]
    found["suffered"] |= {"lives": row.suffered.lives, "back": row.suffered.back, "again": row.suffered.again}
    return found


def show(rows: Sequence[Row]) -> str:
    """What is promised, and how long each phase took."""
    return "\n".join(
        [
            "",
            *_aligned([WHOLE, *map(_whole, rows)]),
            "",
            "`back`: the most updates that a survivor went back by; `again`: updates computed again, over all ranks;",
            "`past it`: seconds from a kill until every rank had made one update more, median and worst.",
            "",
            *_aligned([SECONDS, *(cells for row in rows for cells in _seconds(row))]),
            "",
            "Seconds of each phase, median, of the ranks that were killed.",
        ]
    )


def _whole(row: Row) -> tuple[str, ...]:
    past = [harm.past for harm in row.harms if harm.past is not None]
    survivors = row.level > 1
    return (
        row.name,
        str(row.level),
        str(row.ranks),
        f"{row.suffered.happened} of {row.suffered.planned}",
        f"NO, {len(row.short)} short" if row.short else f"{row.compared} of {row.compared}",
        ("yes" if _kept(row.suffered) else "NO") if survivors else "-",
        str(row.suffered.back) if survivors else "-",
        str(row.suffered.again),
        f"{statistics.median(past):.2f}" if past else "-",
        f"{max(past):.2f}" if past else "-",
    )


def _kept(suffered: Suffered) -> bool:
    return all(lives <= 1 + hits for lives, hits in zip(suffered.lives, suffered.hits, strict=True))


def _seconds(row: Row) -> list[tuple[str, ...]]:
    return [
        (
            row.name,
            rung,
            str(sum(harm.rung == rung for harm in row.harms)),
            *(f"{spent[name]:.2f}" if name in spent else "-" for name in PHASES),
        )
        for rung, spent in medians(row.harms).items()
    ]


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
