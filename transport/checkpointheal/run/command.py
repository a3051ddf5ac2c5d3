"""`checkpointheal run [--nproc-per-node N] [--warm] [--restarts N] -- CMD …`: what did the user ask for?"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence

from checkpointheal.contract.seats import MOST_SEATS
from checkpointheal.errors import Misuse
from checkpointheal.run.crew import Crew
from checkpointheal.run.line import AgentLine
from checkpointheal.run.loop import Loop
from checkpointheal.run.ranks import arenas, variables
from checkpointheal.run.restarts import Limits
from checkpointheal.run.warm import FIRST, MODULES, Warm
from checkpointheal.run.warmable import cold_because, missing_script
from checkpointheal.saying import say

COMMAND_NOT_FOUND, USAGE_ERROR = 127, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Keep the trainer going; returns its own exit status, 128 + N where signal N ended it."""
    asked = parser().parse_args(argv)
    command: list[str] = asked.command[1:] if asked.command[:1] == ["--"] else asked.command
    if not command:
        parser().error("there is no command to start: checkpointheal run -- python train.py")
    if shutil.which(command[0]) is None:
        say(f"checkpointheal run: {command[0]}: no such command\n", sys.stderr)
        return COMMAND_NOT_FOUND
    if (script := missing_script(command)) is not None:
        say(f"checkpointheal run: {script}: no such file\n", sys.stderr)
        return COMMAND_NOT_FOUND
    try:
        if asked.nproc_per_node is None:
            return _one(asked, command)
        return Crew(variables(os.environ, asked.nproc_per_node), lambda: _one(asked, command)).run()
    except Misuse as error:
        say(f"checkpointheal run: {error}\n", sys.stderr)
        return USAGE_ERROR


def parser() -> argparse.ArgumentParser:
    """The command line."""
    limits = Limits()
    parser = argparse.ArgumentParser(
        prog="checkpointheal run",
        description="Start a trainer, and start it again in place when it fails.",
        epilog=f"Exit status: the trainer's own, 128 + N for signal N, {COMMAND_NOT_FOUND} where CMD is not there.",
    )
    parser.add_argument(
        "--nproc-per-node",
        type=_processes,
        metavar="N",
        help="trainers of this pod, each started again by itself (one, in the environment as it is)",
    )
    parser.add_argument(
        "--restarts", type=_count, default=limits.restarts, metavar="N", help="failures within the window (%(default)s)"
    )
    parser.add_argument(
        "--backoff",
        type=_seconds,
        default=limits.backoff,
        metavar="S",
        help="pause after the second failure, then doubled; a second between two starts in any case (%(default)s)",
    )
    parser.add_argument(
        "--window", type=_seconds, default=limits.window, metavar="S", help="older failures are forgotten (%(default)s)"
    )
    parser.add_argument("--warm", action="store_true", help="fork each start from a Python that has imported already")
    parser.add_argument(
        "--warm-modules",
        type=_names,
        default=MODULES,
        metavar="M,M",
        help=f"what it has imported, where it is there ({','.join(MODULES)})",
    )
    parser.add_argument(
        "--warm-wait",
        type=_seconds,
        default=FIRST,
        metavar="S",
        help="how long the first start waits for it; 0: it is cold, and the imports go on beside it (%(default)s)",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD", help="the trainer and its arguments")
    return parser


def _one(asked: argparse.Namespace, command: list[str]) -> int:
    """Keep one trainer going, or one launcher of several."""
    warm = Warm(command, _modules(asked, command), asked.warm_wait)
    limits = Limits(restarts=asked.restarts, backoff=asked.backoff, window=asked.window)
    return Loop(command, limits, [AgentLine(each) for each in arenas(os.environ)], warm).run()


def _modules(asked: argparse.Namespace, command: Sequence[str]) -> tuple[str, ...]:
    """What a warm process imports: nothing where it was not asked for, or where this command cannot be forked."""
    if not asked.warm:
        return ()
    if (reason := cold_because(command, sys.executable)) is not None:
        say(f"checkpointheal run: all starts stay cold: {reason}\n", sys.stderr)
        return ()
    return tuple(asked.warm_modules)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not all(part.isidentifier() for name in names for part in name.split(".")):
        raise argparse.ArgumentTypeError(f"modules are named like os,os.path, not {text!r}")
    return names


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a number of restarts is 0 or more, not {text!r}")
    return int(text)


def _processes(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_SEATS:
        raise argparse.ArgumentTypeError(f"a number of processes is 1 to {MOST_SEATS}, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"seconds are 0 or more, not {text!r}")
    return seconds
