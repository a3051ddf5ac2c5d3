"""`python -m chaos`: one fault after the other befalls a job of this machine, until it is left in peace and ends.

Its weights must end as those of a job that nothing befell, no step may be given up that some memory still had, and
nothing may be left over. Exit status 0: so it was. 1: it was not; the seed tells how to have the same faults again.
"""

import argparse
import asyncio
import logging
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from blows import chaos
from builders_bad_hour import BadHour, a_bad_hour
from checkpointheal_operator.local.places import SHARED_MEMORY
from drawn import Fault, befall, drawn


class Chaos:
    """So many faults, drawn by the seed."""

    def __init__(self, seed: int, faults: int) -> None:
        self._seed, self._faults = seed, faults
        self.done: Counter[str] = Counter()
        self._began = time.monotonic()

    async def befall(self, hour: BadHour) -> None:
        """Every blow that can fall here."""
        blows = {each.__name__: each for each in chaos()}

        async def strike(fault: Fault) -> None:
            self.done[fault.name] += 1
            self._say(str(fault))
            await blows[fault.name](hour, random.Random(fault.seed), fault.rank)

        async def rest() -> None:
            await hour.trains_on()
            self._say(f"all train, step {max(hour.progress.step(rank) for rank in range(hour.world))}")

        await befall(drawn(self._seed, self._faults, list(blows), hour.world), strike, rest)

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {what}", flush=True)


def main() -> int:
    """Say the seed first: it may be all that is left of a run that was ended."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=30, help="so many (30)")
    parser.add_argument("--seed", type=int, default=None, help="the time of day")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    print(f"seed {seed}: make chaos-local SEED={seed} FAULTS={options.faults} draws the same faults", flush=True)
    logging.getLogger("checkpointheal").setLevel(logging.CRITICAL)
    found = Chaos(seed, options.faults)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        told = asyncio.run(_story(folder, found))
    except Exception:  # whatever it is: a promise is broken
        traceback.print_exc()
        print(f"BROKEN, seed {seed}; its logs are in {folder}", flush=True)
        return 1
    shutil.rmtree(folder)
    print("\n".join([f"{count:>6} {what}" for what, count in found.done.most_common()] + told), flush=True)
    return 0


async def _story(folder: Path, faults: Chaos) -> list[str]:
    before, held = _processes(), _descriptors()
    async with a_bad_hour(folder) as hour:
        name = hour.job._site.settings.job
        await faults.befall(hour)
    left = [*_left_of(name), *(f"process {pid}" for pid in _processes() - before)]
    assert not left, f"left over: {left}"
    assert _descriptors() <= held, f"{_descriptors()} files are open here, {held} were before"
    fallbacks = [each.message for each in hour.begun[1:] if each.order.step is None]
    return [
        "weights, optimizer and random streams are those of an undisturbed run, bit for bit; nothing is left over",
        f"{len(hour.begun)} epochs; fallbacks, each lawful: {len(fallbacks)}",
        *fallbacks,
    ]


def _left_of(job: str) -> Iterator[str]:
    """Memory, sockets and processes that bear its name."""
    yield from (str(each) for each in SHARED_MEMORY.iterdir() if job in each.name)
    yield from (line for line in Path("/proc/net/unix").read_text().splitlines() if job in line)
    for pid in _processes():
        try:
            if job.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                yield f"process {pid}"
        except OSError:
            continue


def _processes() -> set[int]:
    """This one's descendants."""
    parents = {}
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                parents[int(each.name)] = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


if __name__ == "__main__":
    sys.exit(main())
