"""`python -m bench.scale [NAME …]`: run the named benches, or all; exit status 1 where a promise is broken."""

import argparse
import sys
from importlib import import_module

from bench.machine import load
from bench.results import keep
from bench.table import show

NAMES = ("start", "beside", "webhook", "storm")
ON_CLUSTER = ("filtering", "crowded")
"""The second only when it is named: it fills the cluster, and wants kwok ($KWOK, or on the path)."""


def main(argv: list[str]) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join((*NAMES, *ON_CLUSTER))}; all")
    parser.add_argument("--cluster", metavar="CONTEXT", help="also show on this cluster what the API server filters")
    parser.add_argument("--keep", action="store_true", help="keep the figures for docs/benchmarks.md")
    asked = parser.parse_args(argv)
    kept = True
    names = asked.names or [*NAMES, *(ON_CLUSTER[:1] if asked.cluster else [])]
    for name in names:
        module = import_module(f"bench.scale.{name}")
        busy = load()
        rows = module.rows(asked.cluster) if name in ON_CLUSTER else module.rows()
        title = (module.__doc__ or "").partition("\n")[0]
        print(show(f"{name}: {title}  (load average {busy} before, {load()} after)", rows), flush=True)
        if asked.keep:
            keep(f"scale-{name}", title, rows, (busy, load()))
        kept = kept and all(row.is_kept for row in rows)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
