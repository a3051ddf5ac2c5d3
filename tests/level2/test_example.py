"""The example of docs/level2.md, typed as it stands there: a rank is killed, and only that one starts again."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kills, pytest.mark.timeout(600)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "level2_ddp.py"
BEGINS = re.compile(r"process (\d+): epoch (\d+) begins at step (\d+)")
SAFETY = 240.0


def begun(folder: Path, rank: int) -> list[tuple[int, int, int]]:
    """Process, epoch and step of each epoch that this rank has begun."""
    log = folder / f"trainer-{rank}.log"
    found = BEGINS.findall(log.read_text()) if log.exists() else []
    return [(int(pid), int(epoch), int(step)) for pid, epoch, step in found]


def until(happened) -> None:
    deadline = time.monotonic() + SAFETY
    while not happened():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def test_only_the_rank_that_was_killed_starts_again(tmp_path: Path) -> None:
    python, script = Path(sys.executable).name, str(EXAMPLE)
    command = [
        sys.executable,
        "-m",
        "checkpointheal.cli",
        "local",
        "--replicas",
        "3",
        "--plain",
        "--dir",
        str(tmp_path),
    ]
    with subprocess.Popen([*command, "--", python, script, "--steps", "60", "--pause", "0.05"]) as job:
        try:
            until(lambda: begun(tmp_path, 1) and "step 10:" in (tmp_path / "trainer-0.log").read_text())
            os.kill(begun(tmp_path, 1)[0][0], signal.SIGKILL)
            assert job.wait(SAFETY) == 0
        finally:
            job.kill()
    lives = [[pid for pid, _, _ in begun(tmp_path, rank)] for rank in range(3)]
    assert [len(set(pids)) for pids in lives] == [1, 2, 1]
    assert [len(pids) for pids in lives] == [2, 2, 2]
    second = {(epoch, step) for rank in range(3) for _, epoch, step in begun(tmp_path, rank)[1:]}
    assert len(second) == 1
    assert second.pop()[1] >= 9
