"""Each `checkpointheal local` of the pages, typed as it stands there: it trains, a pod of it is killed, it goes on."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"^\$ (?:(export .*)\n\$ )?(checkpointheal local (?:.*\\\n)*.*)$", re.MULTILINE)
BEGUN = re.compile(r"BeginEpoch (\d+) (no step|step=\d+) ")
POD = re.compile(r"trainer-\S+: pod \w+ starts; `kill (\d+)` deletes it")
LOGS = re.compile(r"logs in (\S+)")
TRAINS = re.compile(r"step \d+: loss|'loss'|loss=|Epoch \d+")
"""What each example says in its log once it has made updates."""
PATIENCE = 300.0


def commands() -> Iterator[object]:
    for page in PAGES:
        for number, (before, command) in enumerate(COMMAND.findall(page.read_text()), 1):
            yield pytest.param(f"{before or ':'}; exec {command}", id=f"{page.stem}-{number}")


class Typed:
    """A command in a shell, in the checkout's own folder, and what it says.

    Others' libraries have an environment inside ours, and our command is not in theirs: as a user has it, it is.
    """

    def __init__(self, command: str, out: Path) -> None:
        self._out = out
        ours = out.with_name("checkpointheal")
        ours.write_text(f'#!/bin/sh\nexec {sys.executable} -m checkpointheal.cli "$@"\n')
        ours.chmod(0o755)
        folders = [str(out.parent), f"{sys.prefix}/bin", f"{Path(sys.prefix).parent}/bin", os.environ["PATH"]]
        path = os.pathsep.join(folders)
        with out.open("w") as said:
            self.process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=ROOT,
                env=os.environ | {"PATH": path},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._out.read_text()

    def until(self, found: Callable[[], T | None]) -> T:
        deadline = time.monotonic() + PATIENCE
        while (answer := found()) is None:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)
        return answer

    def begun(self, number: int) -> str | None:
        """What that epoch, or the latest after it, began with."""
        return next((step for epoch, step in reversed(BEGUN.findall(self.said)) if int(epoch) >= number), None)

    def trains(self) -> bool | None:
        logs = LOGS.findall(self.said)
        told = [each.read_text() for each in Path(logs[0]).glob("trainer-*.log")] if logs else []
        return True if any(TRAINS.search(each) for each in told) else None

    def kill_a_pod(self) -> None:
        """As it says that one does."""
        os.kill(int(POD.findall(self.said)[-1]), signal.SIGTERM)

    def end(self) -> int:
        """As by Ctrl+C."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@pytest.mark.kills
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("command", list(commands()))
def test_a_command_of_a_page_trains_and_goes_on_from_memory_when_a_pod_is_killed(command: str, tmp_path: Path) -> None:
    typed = Typed(command, tmp_path / "said")
    try:
        typed.until(typed.trains)
        typed.kill_a_pod()
        assert typed.until(lambda: typed.begun(2)) != "no step"
        assert typed.end() == 130
    finally:
        typed.process.kill()
        typed.process.wait()
    assert "Traceback" not in typed.said


def test_every_example_has_a_page_on_which_it_is_typed() -> None:
    typed = {name for page in PAGES for name in re.findall(r"examples/(\w+)\.py", page.read_text())}
    assert typed >= {each.stem for each in (ROOT / "examples").glob("*.py")}
