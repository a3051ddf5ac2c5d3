"""Level 2, tried for real: kill one trainer, keep the others' processes, and end with the bits of an undisturbed run.

    python examples/level2/survive.py                                   # DDP and FSDP2, killed in every phase
    python examples/level2/survive.py --wrap ddp --rebuilds             # what a reducer that rebuilds does to it
    python examples/level2/survive.py --wrap fsdp2 --raises --unmended  # and errors that reach the wrapper

Exits non-zero unless every run ends identical and no survivor was restarted.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from fleet import Fleet, Stuck

PHASES = ("forward", "backward", "before commit")
FLAGS = ("raises", "unmended", "rebuilds")
SIZE = {"ddp": (3, 1), "fsdp2": (4, 2)}
"""Ranks, and how many of them make a replica."""
STEPS, DIE_AT = 10, 5


def train(wrap: str, flags: list[str], out: Path, death: list[str]) -> Fleet:
    """One run; raises Stuck."""
    size, shards = SIZE[wrap]
    fleet = Fleet([f"--wrap={wrap}", f"--steps={STEPS}", *flags], out, size, shards)
    try:
        fleet.conduct(death)
    finally:
        fleet.close()
    return fleet


def results(out: Path, size: int) -> list[torch.Tensor]:
    """All that the ranks ended with, random streams included."""
    held = [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(size)]
    return [tensor for each in held for tensor in (*each["tensors"], each["rng"])]


def verdict(wrap: str, phase: str, flags: list[str], wanted: list[torch.Tensor], out: Path) -> str | None:
    """None where the run survived as it should; else why not."""
    try:
        fleet = train(wrap, flags, out, [f"--die-at={DIE_AT}", f"--die-in={phase}"])
    except Stuck as stuck:
        return str(stuck)
    if fleet.epochs != 2 or fleet.started != fleet.size + 1:
        return f"{fleet.epochs} epochs, {fleet.started} processes"
    found = results(out, fleet.size)
    differing = sum(not torch.equal(a, b) for a, b in zip(wanted, found, strict=True))
    return f"{differing} of {len(wanted)} tensors differ" if differing else None


def show(out: Path, size: int) -> None:
    """What the trainers said."""
    for rank in range(size):
        for line in (out / f"{rank}.log").read_text(errors="replace").splitlines():
            if line.startswith("epoch") or "Error" in line or "[enforce fail" in line:
                print(f"    rank {rank}: {line[:240]}")


def main() -> int:
    """Every wrapper in every phase; the number of runs that fell short."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wrap", choices=[*SIZE], action="append", help="default: both")
    parser.add_argument("--phase", choices=PHASES, action="append", help="where to die; default: each")
    parser.add_argument("--raises", action="store_true", help="let errors reach the wrapper")
    parser.add_argument("--unmended", action="store_true", help="leave the wrapper as the error left it")
    parser.add_argument("--rebuilds", action="store_true", help="let DDP rebuild its buckets")
    options = parser.parse_args()
    flags = [f"--{flag}" for flag in FLAGS if getattr(options, flag)]
    short = 0
    with tempfile.TemporaryDirectory() as folder:
        for wrap in options.wrap or [*SIZE]:
            reference = Path(folder, wrap)
            reference.mkdir()
            train(wrap, flags, reference, [])
            wanted = results(reference, SIZE[wrap][0])
            for phase in options.phase or PHASES:
                out = Path(folder, f"{wrap} {phase}")
                out.mkdir()
                why = verdict(wrap, phase, flags, wanted, out)
                print(f"{wrap}, killed in {phase} of step {DIE_AT}: {why or 'identical, survivors kept'}")
                show(out, SIZE[wrap][0])
                short += why is not None
    return min(short, 1)


if __name__ == "__main__":
    sys.exit(main())
