"""`python -m soak`: machines one after the other, until so many steps are done, the time is up or a promise is broken.

Exit status 0: all steps, and every promise was kept. 1: one was broken; the shortest way to it is printed, and the seed
that finds it again. 2: the time was up first.
"""

import argparse
import sys
import time
import traceback

from machine import Tally, search

RUNS_AT_ONCE = 50


def main() -> int:
    """Say the seed first: it may be all that is left of a run that was ended."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000, help="at least so many (1000000)")
    parser.add_argument("--minutes", type=float, default=60.0, help="no new runs after so many (60)")
    parser.add_argument("--seed", type=int, default=None, help="of the first runs (the time of day)")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    tally, number, began = Tally(), seed, time.monotonic()
    while tally.steps < options.steps:
        if time.monotonic() >= began + options.minutes * 60:
            return _tell(tally, time.monotonic() - began, "the time was up first", 2)
        try:
            search(number, RUNS_AT_ONCE, tally)
        except Exception:  # whatever it is: a promise is broken, or the core raised
            traceback.print_exc()
            return _tell(tally, time.monotonic() - began, f"BROKEN: make soak SEED={number} N=1 finds it again", 1)
        number += 1
        print(f"{tally.steps:>9} steps, seeds {seed} to {number - 1}", flush=True)
    return _tell(tally, time.monotonic() - began, "every promise was kept", 0)


def _tell(tally: Tally, seconds: float, word: str, status: int) -> int:
    for title, counts in (("done", tally.done), ("ended", tally.endings)):
        print(f"\n{title}:")
        for what, count in counts.most_common():
            print(f"  {count:>9} {what}")
    longest = max(tally.seconds, default=0.0)
    print(f"\n{tally.steps} steps in {seconds:.0f} s; left in peace {len(tally.seconds)} times")
    print(f"at rest after {longest:.1f} virtual seconds at most")
    print(word, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
