"""Survivors keep their processes and their wrapped models: the experiment behind decision 10, kept."""

import subprocess
import sys
from pathlib import Path

import pytest

from builders_level2 import with_fsdp2

EXAMPLES = Path(__file__).parents[2] / "examples" / "level2"

pytestmark = [pytest.mark.kills, pytest.mark.timeout(600)]


def run(program: str, *told: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / program), *told], capture_output=True, text=True, timeout=580, check=False
    )


@pytest.mark.parametrize("wrap", ["ddp", pytest.param("fsdp2", marks=with_fsdp2)])
def test_a_model_wrapped_once_outlives_the_loss_of_a_member_bit_for_bit(wrap: str) -> None:
    tried = run("survive.py", "--wrap", wrap)
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert tried.stdout.count("identical, survivors kept") == 3


def test_a_reducer_that_rebuilds_its_buckets_is_seen_to_fail() -> None:
    tried = run("survive.py", "--wrap", "ddp", "--phase", "backward", "--rebuilds")
    assert tried.returncode == 1, tried.stdout + tried.stderr
    assert "ddp, killed in backward of step 5: survivor" in tried.stdout


@with_fsdp2
def test_groups_that_are_made_anew_never_reach_a_wrapped_model() -> None:
    tried = run("failing.py")
    assert tried.returncode == 0, tried.stdout + tried.stderr
    for wrapper in ("DDP", "FSDP2"):
        assert tried.stdout.count(f"{wrapper}, rank 0, second group: ") == 1
    assert "no error" not in tried.stdout
