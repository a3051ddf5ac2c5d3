"""`python -m bench.page`: docs/benchmarks.md, from the figures that were kept."""

import sys
from pathlib import Path
from typing import Any

from bench.results import kept

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Written by `make bench-page` from what `make bench KEEP=yes`, `make bench-heal N=200 KEEP=yes` and
`make bench-scale KEEP=yes` kept in `bench/results`. Figures are as they were seen, broken promises too. A figure in
seconds belongs to its machine and to what else ran on it: the load average of a machine of two cores is 2 where nothing
waits. A ratio is one of runs side by side, and holds on any machine. What is promised as a rate, at least, stands here
as the time that is allowed, at most.
"""


def page(found: dict[str, dict[str, Any]]) -> str:
    """The whole page."""
    return "\n".join([HEAD, *(_section(each) for each in found.values())])


def _section(found: dict[str, Any]) -> str:
    machine = found["machine"]
    about = "; ".join(machine[key] for key in ("date", "processor", "memory", "system"))
    loads = f"load average {found['load before']} before, {found['load after']} after"
    lines = [
        f"## {found['title']}",
        "",
        f"{about}; {loads}.",
        "",
        "| what | seen | at most | |",
        "| --- | --: | --: | --- |",
    ]
    return "\n".join([*lines, *map(_row, found["rows"]), ""])


def _row(row: dict[str, Any]) -> str:
    unit = f" {row['unit']}" if row["unit"] else ""
    target = "" if row["target"] is None else f"{row['target']:g}{unit}"
    broken = row["target"] is not None and row["value"] > row["target"]
    note = "; ".join(each for each in ("**broken**" if broken else "", row["note"]) if each)
    return f"| {row['what']} | {row['value']:,g}{unit} | {target} | {note} |"


def main() -> int:
    """Write it."""
    PAGE.write_text(page(kept()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
