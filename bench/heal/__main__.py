"""`python -m bench.heal [--count N] [--cluster CONTEXT] [--keep]`: exit status 1 where a promise is broken."""

import argparse
import statistics
import sys

from bench.heal import here, there
from bench.heal.figures import rows
from bench.machine import load
from bench.results import keep
from bench.table import Row, show
from checkpointheal_operator.demo.plain import Restarted

RESTARTS = 5


def main(argv: list[str]) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.heal", description=__doc__)
    parser.add_argument("--count", type=int, default=20, metavar="N", help="heals (%(default)s)")
    parser.add_argument("--cluster", metavar="CONTEXT", help="heal pods of this cluster, which has the chart installed")
    parser.add_argument("--keep", action="store_true", help="keep the figures for docs/benchmarks.md")
    asked = parser.parse_args(argv)
    busy = load()
    if asked.cluster:
        found, name = there.figures(asked.cluster, asked.count), "heal-cluster"
        title = "Heals of real pods on a kind cluster"
    else:
        found, name = rows(here.heals(asked.count)) + _compared(here.restarts(RESTARTS)), "heal"
        title = "Heals of this machine's processes, and a restart from a file"
    print(show(f"{name}: {title}  (load average {busy} before, {load()} after)", found))
    if asked.keep:
        keep(name, title, found, (busy, load()))
    return 0 if all(row.is_kept for row in found) else 1


def _compared(restarts: list[Restarted]) -> list[Row]:
    seconds = [each.seconds for each in restarts]
    lost = [each.steps_lost for each in restarts]
    return [
        Row("from torch.save: harm to every rank past its step, p50", statistics.median(seconds), "s"),
        Row(
            "from torch.save: steps computed again, all ranks",
            statistics.median(lost),
            "",
            None,
            "saved every 10 steps",
        ),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
