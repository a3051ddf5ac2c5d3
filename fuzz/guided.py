"""One search, in a process of its own, which libFuzzer ends: `python -m fuzz.guided AIM FOUND [libFuzzer's options]`.

Must be the first to import our packages: it makes them tell which lines are reached.
"""

import resource
import sys
import warnings
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["checkpointheal", "checkpointheal_operator"], enable_loader_override=False):
    from checkpointheal import register_class
    from fuzz.states import KNOWN
    from fuzz.targets import AIMS

ROOM = 2 << 30
"""Bytes of address space beyond what the imports take: whoever allocates by an input's numbers meets this first."""


def main() -> None:
    """Search until libFuzzer has tried as many inputs as it was told."""
    aim = AIMS[sys.argv[1]]
    warnings.simplefilter("ignore")

    def change(raw: bytes, limit: int, seed: int) -> bytes:
        return bytes(aim.mutate(raw, limit, Random(seed), atheris.Mutate))

    def run(raw: bytes) -> None:
        try:
            aim.run(bytes(raw))
        except BaseException:  # libFuzzer does not always write it down
            Path(sys.argv[2]).write_bytes(raw)
            raise

    for known in KNOWN:
        register_class(known)
    _bound_memory()
    atheris.Setup([sys.argv[0], *sys.argv[3:]], run, custom_mutator=change)
    atheris.Fuzz()


def _bound_memory() -> None:
    with open("/proc/self/statm") as told:
        pages = int(told.read().split()[0])
    most = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main()
