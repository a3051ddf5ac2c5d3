"""`python -m bench [NAME …]`: run the named benches, or all, and exit 1 where a promise is broken."""

import argparse
import sys
from importlib import import_module
from pkgutil import iter_modules

import bench
from bench.machine import load
from bench.results import keep
from bench.table import show


def main(argv: list[str]) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--keep", action="store_true", help="keep the figures for docs/benchmarks.md")
    asked = parser.parse_args(argv)
    names: list[str] = asked.names
    found = sorted(
        name for _, name, _ in iter_modules(bench.__path__) if hasattr(import_module(f"bench.{name}"), "rows")
    )
    if unknown := sorted(set(names) - set(found)):
        print(f"there is no bench {unknown[0]!r}: there are {', '.join(found)}", file=sys.stderr)
        return 2
    kept = True
    for name in names or found:
        module = import_module(f"bench.{name}")
        busy, title = load(), (module.__doc__ or "").partition("\n")[0]
        rows = module.rows()
        print(show(f"{name}: {title}", rows), flush=True)
        if asked.keep:
            keep(name, title, rows, (busy, load()))
        kept = kept and all(row.is_kept for row in rows)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
