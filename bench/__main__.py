"""`python -m bench [NAME …]`: run the named benches, or all, and exit 1 where a promise is broken."""

import sys
from importlib import import_module
from pkgutil import iter_modules

import bench
from bench.table import show


def main(names: list[str]) -> int:
    """Run and print."""
    found = sorted(
        name for _, name, _ in iter_modules(bench.__path__) if hasattr(import_module(f"bench.{name}"), "rows")
    )
    if unknown := sorted(set(names) - set(found)):
        print(f"there is no bench {unknown[0]!r}: there are {', '.join(found)}", file=sys.stderr)
        return 2
    kept = True
    for name in names or found:
        module = import_module(f"bench.{name}")
        rows = module.rows()
        print(show(f"{name}: {(module.__doc__ or '').partition(chr(10))[0]}", rows), flush=True)
        kept = kept and all(row.is_kept for row in rows)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
