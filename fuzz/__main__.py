"""`python -m fuzz [AIM …] --runs N`: search for an input that does what none may; exit 1 where one was found."""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from builders_classes import registered
from fuzz.states import KNOWN
from fuzz.targets import AIMS

_COVERED = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")


def main() -> int:
    """Each search in its own process, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("aims", nargs="*", metavar="AIM", help=f"of {', '.join(AIMS)}; all if none is named")
    parser.add_argument("--runs", type=int, default=20_000, help="inputs for each (20000)")
    parser.add_argument("--seconds", type=int, default=0, help="no longer than this for each; 0: as long as it takes")
    parser.add_argument("--kept", type=Path, default=Path(".fuzz"), help="where what was reached is kept (.fuzz)")
    options = parser.parse_args()
    if unknown := sorted(set(options.aims) - set(AIMS)):
        parser.error(f"there is no {unknown[0]!r}: there are {', '.join(AIMS)}")
    bounds = [f"-runs={options.runs}", f"-max_total_time={options.seconds}"]
    return max([_search(aim, bounds, options.kept) for aim in options.aims or AIMS])


def _search(aim: str, bounds: Sequence[str], kept: Path) -> int:
    corpus = kept / aim
    corpus.mkdir(parents=True, exist_ok=True)
    with registered(*KNOWN):
        for number, seed in enumerate(AIMS[aim].seeds()):
            (corpus / f"seed-{number}").write_bytes(seed)
    limits = [
        *bounds,
        "-print_final_stats=1",
        "-timeout=180",
        "-rss_limit_mb=3072",
        "-max_len=16384",
        "-len_control=0",
    ]
    found = f"{kept}/found-{aim}-"
    command = [
        sys.executable,
        "-m",
        "fuzz.guided",
        aim,
        f"{found}input",
        str(corpus),
        *limits,
        f"-artifact_prefix={found}",
    ]
    began = time.monotonic()
    ended = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
    seconds = time.monotonic() - began
    reached = _COVERED.findall(ended.stderr) or [("0", "0", "0")]
    tried = re.findall(r"number_of_executed_units: (\d+)", ended.stderr) or ["0"]
    word = "nothing found" if ended.returncode == 0 else f"FOUND: see {kept}"
    print(f"{aim:9} {tried[-1]:>9} inputs in {seconds:6.0f} s, {reached[-1][0]} edges reached: {word}", flush=True)
    if ended.returncode:
        print(ended.stdout[-3000:], ended.stderr[-3000:], sep="\n", file=sys.stderr)
    return int(ended.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
