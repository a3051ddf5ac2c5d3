"""`python -m harmed [--kills N] [--seed S] [--cluster CONTEXT] [EXAMPLE …]`: status 1 where an example falls short."""

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import builders_adapters
import builders_cluster
from builders_adapters import Seen
from harmed import ordeal, pods, table
from harmed.blows import blows, steps_for
from harmed.ordeal import Ordeal, Place
from harmed.processes import processes
from harmed.stacks import ON_PODS, STACKS, Stack
from harmed.table import Row
from harmed.verdict import Ended, shortfalls

Harming = Callable[[Stack, int, int, Path], Row]
Plain = Callable[[Stack, Path, Mapping[str, str]], object]
Start = Callable[[Stack, Path, Mapping[str, str]], AbstractAsyncContextManager[Place]]


def main(argv: Sequence[str], harm: Harming | None = None) -> int:
    """Harm each example, and print how it went."""
    asked = parser().parse_args(argv)
    ways: tuple[Plain, Start] = (here, processes)
    if asked.cluster:
        builders_cluster.CONTEXT, ways = asked.cluster, (pods.plain, pods.pods)
    folder = (asked.dir or Path(tempfile.mkdtemp(prefix="harmed-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    kills = f"{asked.kills} kills at random instants, and as many at named points"
    print(f"seed {asked.seed}: {kills}; logs in {folder}", flush=True)
    rows, harm = [], harm or harming(*ways)
    for stack in asked.examples or [each for each in STACKS if not asked.cluster or each.name in ON_PODS]:
        rows.append(harm(stack, asked.kills, asked.seed, folder))
        print(table.progress(rows[-1]), flush=True)
        if asked.out:
            raw = {"seed": asked.seed, "kills": asked.kills, "rows": [table.raw(row) for row in rows]}
            asked.out.write_text(json.dumps(raw, indent=1) + "\n")
    print(table.show(rows))
    if short := any(row.short for row in rows):
        print(f"\nSome fall short: their logs are in {folder}", file=sys.stderr)
    elif not asked.dir:
        shutil.rmtree(folder)
    return int(short)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m harmed", description=__doc__)
    parser.add_argument("examples", nargs="*", type=_stack, metavar="EXAMPLE", help="all of them")
    parser.add_argument("--kills", type=int, default=3, metavar="N", help="of each kind, for each (%(default)s)")
    parser.add_argument("--seed", type=int, default=20261129, help="of who is killed, how and when (%(default)s)")
    parser.add_argument(
        "--cluster", metavar="CONTEXT", help="harm pods of this kind cluster, which has the chart in it"
    )
    parser.add_argument("--dir", type=Path, metavar="D", help="folder of the logs (one that goes if all is well)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="everything that was seen, as JSON")
    return parser


def harming(plain: Plain, start: Start) -> Harming:
    """The example once in peace and without us, once under kills."""

    def harmed(stack: Stack, kills: int, seed: int, folder: Path) -> Row:
        began = time.monotonic()
        planned = blows(kills, stack.points, stack.world, random.Random(f"{seed} {stack.name}"))
        peace, trouble = folder / f"{stack.name}-plain", folder / stack.name
        trouble.mkdir()
        words = {"WITNESS_WORDS": stack.words(steps_for(planned))}
        with stack.beside(stack.world, folder / f"{stack.name}-plain.log") as more:
            plain(stack, peace, words | more)
        undisturbed, job = _ended(Seen(peace, stack.world)), Ordeal(stack, trouble)

        async def ordeal_of_it(more: Mapping[str, str]) -> None:
            async with start(stack, trouble, words | more) as place:
                await job.through(place, planned)

        with stack.beside(stack.world, folder / f"{stack.name}.log") as more:
            asyncio.run(ordeal_of_it(more))
        found, suffered = ordeal.seen(trouble, stack.world), job.suffered(len(planned))
        return Row(
            name=stack.name,
            level=1 if stack.back is None else 2,
            ranks=stack.world,
            suffered=suffered,
            compared=sum(len(each) for each in (*undisturbed.parts, *undisturbed.batches)),
            harms=job.harms,
            seconds=time.monotonic() - began,
            short=shortfalls(undisturbed, _ended(found) if found else None, suffered, stack.back),
        )

    return harmed


def here(stack: Stack, folder: Path, words: Mapping[str, str]) -> None:
    """Processes of this machine, without any of ours."""
    builders_adapters.plain(stack.program, folder, stack.world, **words)


def _stack(name: str) -> Stack:
    found = {each.name: each for each in STACKS}
    if name not in found:
        raise argparse.ArgumentTypeError(f"there is no example {name!r}: there are {', '.join(found)}")
    return found[name]


def _ended(seen: Seen) -> Ended:
    return Ended(seen.ends(), seen.consumed())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
