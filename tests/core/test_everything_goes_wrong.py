"""Whatever goes wrong and in whatever order words arrive, what was promised is kept. `make soak` looks for longer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[1] / "soak.py"


@pytest.mark.timeout(900)
def test_every_promise_is_kept_over_ten_thousand_steps() -> None:
    """In a process of its own: what Hypothesis draws for a seed depends on the modules that were imported before."""
    command = [sys.executable, str(SOAK), "--seed", "0", "--steps", "10000", "--minutes", "14"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONHASHSEED": "0"}, capture_output=True, text=True, timeout=890, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-4000:]
    assert {"Peer", "OwnMemory", "Checkpoint"} <= {line.split()[1].partition(":")[0] for line in endings(done.stdout)}


def endings(told: str) -> list[str]:
    """The lines of its table that say how runs ended."""
    return [line for line in told.partition("\nended:\n")[2].partition("\n\n")[0].splitlines() if line.strip()]
