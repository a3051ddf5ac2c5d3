"""Which trainer ended by itself, how, and what were its last words?

A script that fails before it has ever asked for a state would otherwise only look slow. Must not know processes.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from checkpointheal.contract.report import TrainerExit
from checkpointheal.contract.trainer import EXIT_EPOCH_OVER
from checkpointheal_operator.core.losses import how_it_ended
from checkpointheal_operator.core.view import JobView

READ_BACK = 4096
"""Bytes of the log's end that are looked at."""
_OURS = re.compile(r"checkpointheal( run)?:")
"""How a line of ours begins: not that of an error of ours, which is the trainer's."""


class Exits:
    """Tells each failure once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def new(self, view: JobView) -> Iterator[tuple[str, TrainerExit]]:
        """Pod and exit of every trainer that failed and was not told yet."""
        for heard in view.heard:
            ended = heard.report.trainer.exit
            if ended is not None and ended.incarnation not in self._told:
                self._told.add(ended.incarnation)
                if not _followed(ended):
                    yield heard.report.pod, ended


def sentence(pod: str, ended: TrainerExit, log: Path) -> str:
    """One line, with what the trainer itself said last. One that a signal ended had no time to say why."""
    words = "" if ended.signal is not None else last_words(log)
    return f"{pod}: its trainer ended, {how_it_ended(ended)}" + (f": {words}" if words else "") + f" (log: {log})"


def last_words(log: Path) -> str:
    """The last line of the trainer's own in a log; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - READ_BACK))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:200] for line in reversed(lines) if line.strip() and not _OURS.match(line)), "")


def _followed(ended: TrainerExit) -> bool:
    """Ended well, or only because its epoch was over."""
    return ended.told or ended.code in (0, EXIT_EPOCH_OVER)
