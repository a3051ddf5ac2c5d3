"""`checkpointheal drill [JOB]`: would a heal of a job that `checkpointheal local` runs work now?

Asks the job, waits, prints how it went, and turns that into an exit status.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import TextIO, cast

from checkpointheal.saying import Saying, say
from checkpointheal_operator.api.drill_record import drill_status
from checkpointheal_operator.core.drill_record import DrillRecord
from checkpointheal_operator.local import door
from checkpointheal_operator.plugin.drill_words import told
from checkpointheal_operator.plugin.printing import console_on, write

PASSED, NOT_PASSED, USAGE_ERROR = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """0 where a heal would work, 1 where it would not or the drill was refused, 2 where there is no such job."""
    asked = parser().parse_args(argv)
    running = door.jobs()
    if not running:
        return _complain("no job of `checkpointheal local` runs here")
    job = asked.job or (next(iter(running)) if len(running) == 1 else "")
    if job not in running:
        why = f"there is no job {job!r}" if job else "there are several jobs"
        return _complain(why, f"one of {', '.join(running)}")
    try:
        drill = asyncio.run(asyncio.wait_for(door.ask(running[job]), asked.timeout))
    except TimeoutError:
        return _complain(f"the drill of {job} did not end within {asked.timeout:g} s")
    except (OSError, EOFError) as error:
        return _complain(f"{job} does not answer: {error}")
    return _tell(drill)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="checkpointheal drill",
        description="Rehearse a heal of a job that `checkpointheal local` runs: a member receives another one's state, "
        "verifies it and keeps nothing. Training goes on; a real heal ends it at once.",
        epilog="Exit status: 0 a heal would work, 1 it would not, or the drill was refused, 2 there is no such job.",
    )
    parser.add_argument(
        "job", nargs="?", default="", metavar="JOB", help="as `local` calls it, where there are several"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=300.0, metavar="SECONDS", help="how long to wait for its end (%(default)g)"
    )
    return parser


def _tell(drill: DrillRecord) -> int:
    status = drill_status(drill)
    write(console_on(cast("TextIO", Saying(sys.stdout))), told(status) if status is not None else ())
    return PASSED if drill.passed else NOT_PASSED


def _complain(*sentences: str) -> int:
    say(f"checkpointheal drill: {': '.join(sentences)}\n", sys.stderr)
    return USAGE_ERROR


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"more than 0 seconds, not {text!r}")
    return seconds
