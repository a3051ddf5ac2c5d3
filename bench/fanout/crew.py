"""How does the trainer's process have its donor's agent give? By a line to another process, which has the agents.

Must not know what is measured.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DONOR = 0
RECIPIENTS = (1, 2)
"""As many as a donor serves at once by default."""


ENDS_WITHIN = 120.0
"""Seconds. It ends when nobody tells it anything any more, and its agents with it."""


class Given(NamedTuple):
    """What crossed in one block."""

    bytes: int
    seconds: float
    verified: int
    """How many whole states."""


class Stage:
    """The other process, as the trainer sees it."""

    def __init__(self, process: subprocess.Popen[str], arena: Path) -> None:
        self._process, self.arena = process, arena

    def give(self, cap: int) -> None:
        """To both, again and again, `cap` bytes a second to each at most; 0: no cap. Returns once bytes cross."""
        self._say(json.dumps(cap))
        self.hear()

    def rest(self) -> Given:
        """No more; what crossed since."""
        self._say("null")
        return Given(*json.loads(self.hear()))

    def hear(self) -> str:
        """A line; raises EOFError where it has ended."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise EOFError("the agents' process has ended")
        return line

    def _say(self, line: str) -> None:
        if self._process.stdin:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Gateway and agents, over arenas in this folder."""
    command = [sys.executable, "-m", "bench.fanout.stage", str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        found = Stage(process, arena_of(folder, DONOR))
        found.hear()
        yield found
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait(ENDS_WITHIN)


def arena_of(folder: Path, replica: int) -> Path:
    """Where its state lies."""
    return folder / f"arena-{replica}"
