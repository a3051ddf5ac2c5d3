"""`python -m bad_api`: an operator lives through every bad time of an API server, so many times each.

Exit status 0: every promise was kept. 1: one was broken; how, and how to see it again, is printed.
"""

import argparse
import logging
import statistics
import sys
import time
import traceback

from bad_server import BAD_TIMES, BadTime
from bad_times import Outcome, lived_through


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bad_api", description=__doc__)
    parser.add_argument("--times", type=int, default=200, help="runs of each (200)")
    parser.add_argument("--seed", type=int, default=0, help="of the first runs (0)")
    parser.add_argument("--only", default="", help="those whose name has this in it")
    options = parser.parse_args()
    for name in ("checkpointheal", "aiohttp.server"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    print(f"{'':<40} runs  promised  behind p50   max  settled p50   max  restarts  assignments  gone behind  broken")
    kept = True
    for name, bad in BAD_TIMES.items():
        if options.only in name:
            kept = _lived(name, bad, range(options.seed, options.seed + options.times)) and kept
    return 0 if kept else 1


def _lived(name: str, bad: BadTime, seeds: range) -> bool:
    outcomes, broken, began = [], 0, time.monotonic()
    for seed in seeds:
        try:
            outcomes.append(found := lived_through(name, bad, seed))
            assert found.behind <= bad.seconds, f"a mirror was {found.behind:.1f} s behind"
            assert found.restarts <= bad.restarts, f"{found.restarts} restarts"
        except Exception as error:  # whatever it is: a promise is broken
            broken += 1
            trace = "" if isinstance(error, AssertionError) else traceback.format_exc()
            print(f"BROKEN: {name}: {error} {trace}\n  python -m bad_api --only '{name}' --times 1 --seed {seed}")
    _tell(name, bad, outcomes, len(seeds), broken)
    print(f"  {time.monotonic() - began:.0f} s", flush=True)
    return not broken


def _tell(name: str, bad: BadTime, outcomes: list[Outcome], runs: int, broken: int) -> None:
    if not outcomes:
        return
    behind, healed = ([getattr(each, what) for each in outcomes] for what in ("behind", "healed_after"))
    assignments, gone = (sum(getattr(each, what) for each in outcomes) for what in ("assignments", "gone_behind"))
    print(
        f"{name:<40} {runs:>4}  {bad.seconds:>6.0f} s  {statistics.median(behind):>8.1f} s {max(behind):>4.1f}"
        f"  {statistics.median(healed):>9.1f} s {max(healed):>5.1f}  {max(each.restarts for each in outcomes):>8}"
        f"  {assignments:>11}  {gone:>11}  {broken:>6}"
    )


if __name__ == "__main__":
    sys.exit(main())
