"""`checkpointheal local [options] -- CMD …`: what did the user ask for, and what do they see of it?

Parses, runs the job, and turns its end, or a signal, into an exit status.
"""

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from rich.console import Console

from checkpointheal.saying import Saying, say
from checkpointheal_operator.core.decisions import Decision, held_by
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.local.arguments import at_least
from checkpointheal_operator.local.bearing import Machine, too_many
from checkpointheal_operator.local.job import Hooks, LocalJob
from checkpointheal_operator.local.live import LiveView
from checkpointheal_operator.local.places import search_path
from checkpointheal_operator.local.screen import Lines, OperatorLog, both
from checkpointheal_operator.local.settings import LocalSettings
from checkpointheal_operator.local.summary import summary

COMMAND_NOT_FOUND = 127
SIGNALLED = 128
FOLDER = Path("checkpointheal-local")
_POSITIVE = at_least(1, "at least 1")
_PATIENCE = at_least(10, "an epoch has 10 seconds to end before that, so at least 10")
_SLOTS = at_least(2, "an arena holds at least 2 generations")
_COUNT = at_least(0, "a number of restarts is 0 or more")


def main(argv: Sequence[str] | None = None) -> int:
    """Train, healed; returns 0 where every member finished, 128 + N after signal N, else the failed member's status."""
    asked = parser().parse_args(argv)
    command: list[str] = asked.command[1:] if asked.command[:1] == ["--"] else asked.command
    if not command:
        parser().error("there is no command to start: checkpointheal local --replicas 3 -- python train.py")
    if shutil.which(command[0], path=search_path(os.environ)) is None:
        _tell(f"{command[0]}: no such command")
        return COMMAND_NOT_FOUND
    try:
        settings = settings_of(asked, command)
    except ValidationError as error:
        parser().error("; ".join(map(_named, error.errors())))
    if not asked.crowded and (wrong := too_many(asked.replicas * asked.ranks, Machine.here())) is not None:
        parser().error(wrong)
    screen = _screen(asked)
    try:
        log = OperatorLog(settings.logs, screen.noted)
    except OSError as error:
        parser().error(f"no logs can go to {settings.logs} ({error.strerror}): name another folder with --dir")
    _tell(
        f"{settings.job}, logs in {settings.logs}; training begins once every trainer has loaded its Python and asked "
        "for a state"
    )
    return asyncio.run(_train(settings, screen, log))


class _Parser(argparse.ArgumentParser):
    """A mistake is one sentence, not lost behind all that could have been said."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n{self.prog} --help tells what can be said\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = _Parser(
        prog="checkpointheal local",
        description="Heal a training job of this machine's processes: pods that are lost as a whole, and members in "
        "them, each with its own memory.",
        epilog="Deleting a pod: kill its keeper, whose pid the logs tell. Exit status: 0 where every member finished, "
        "128 + N after signal N, else that of the member that failed for good.",
    )
    parser.add_argument("--replicas", type=_POSITIVE, default=2, metavar="N", help="copies of the state (%(default)s)")
    parser.add_argument("--ranks", type=_POSITIVE, default=1, metavar="K", help="members per replica (%(default)s)")
    parser.add_argument(
        "--min-replicas", type=_POSITIVE, metavar="N", help="so many go on without the others, on level 2 (all wait)"
    )
    parser.add_argument(
        "--go-on-after",
        type=_PATIENCE,
        default=30,
        metavar="S",
        help="seconds that they wait first, 10 or more (%(default)s)",
    )
    parser.add_argument(
        "--local-ranks", type=_POSITIVE, default=1, metavar="N", help="members per pod, lost together (%(default)s)"
    )
    parser.add_argument(
        "--launcher", action="store_true", help="CMD starts all members of its pod itself, as torchrun does"
    )
    parser.add_argument("--dir", type=Path, metavar="D", help=f"folder of the logs ({FOLDER}/JOB)")
    parser.add_argument("--arena-slots", type=_SLOTS, default=2, metavar="S", help="generations kept (%(default)s)")
    parser.add_argument(
        "--restarts", type=_COUNT, default=5, metavar="N", help="failures of a trainer, in an hour (%(default)s)"
    )
    parser.add_argument(
        "--fallback",
        choices=("checkpoint", "hold"),
        default="checkpoint",
        help="what follows where no memory has the state: your checkpoint, or a wait that SIGUSR1 ends (%(default)s)",
    )
    parser.add_argument(
        "--private-behind",
        choices=("refuse", "allow"),
        default="refuse",
        help="whether a member whose private part of the step is nowhere goes on with an earlier one (%(default)s)",
    )
    parser.add_argument("--cold", action="store_true", help="no warm process beside each trainer: less memory")
    parser.add_argument("--crowded", action="store_true", help="more members than this machine seems to bear")
    parser.add_argument("--plain", action="store_true", help="lines instead of the live view")
    parser.add_argument("-v", "--verbose", action="store_true", help="also say what is waited for")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD", help="the trainer and its arguments")
    return parser


def settings_of(asked: argparse.Namespace, command: Sequence[str]) -> LocalSettings:
    """The job that the command line describes."""
    job = f"local-{uuid.uuid4().hex[:6]}"
    return LocalSettings(
        job=job,
        command=tuple(command),
        policy=_policy(asked),
        local_ranks=asked.local_ranks,
        launcher=asked.launcher,
        logs=(asked.dir or FOLDER / job).absolute(),
        slots=asked.arena_slots,
        trainer_restarts=asked.restarts,
        warm=not asked.cold,
    )


def _policy(asked: argparse.Namespace) -> Policy:
    return Policy(
        replicas=asked.replicas,
        ranks=asked.ranks,
        min_replicas=asked.min_replicas,
        go_on_without=asked.go_on_after,
        fallback=asked.fallback.capitalize(),
        private_behind=asked.private_behind.capitalize(),
    )


def _named(error: ErrorDetails) -> str:
    """What is wrong, and with which option where it is the value of one."""
    sentence = error["msg"].removeprefix("Value error, ")
    return ": ".join([*(f"--{str(field).replace('_', '-')}" for field in error["loc"]), sentence])


def _screen(asked: argparse.Namespace) -> Lines | LiveView:
    out: TextIO | None = sys.stdout  # None where it was closed before we began
    if out is None or asked.plain or not out.isatty():
        return Lines(sys.stderr, verbose=asked.verbose)
    return LiveView(Console(file=cast("TextIO", Saying(out))))


def _tell(sentence: str) -> None:
    say(f"checkpointheal local: {sentence}\n", sys.stderr)


async def _train(settings: LocalSettings, screen: Lines | LiveView, log: OperatorLog) -> int:
    def noted(sentence: str) -> None:
        screen.noted(sentence)
        log.noted(sentence)

    tell = both(screen.told, log.told)

    def told(decision: Decision, view: JobView) -> None:
        tell(decision, view)
        if held_by(decision):
            noted(f"kill -USR1 {os.getpid()} lets the job go on from your checkpoint")

    job = LocalJob(settings, Hooks(told=told, noted=noted, looked=screen.looked))
    with screen:
        status, sentence = await _until_over(job, noted)
    say(summary(job.heals, is_well=status == 0), sys.stdout)
    _tell(sentence)
    log.close()
    return status


async def _until_over(job: LocalJob, noted: Callable[[str], None]) -> tuple[int, str]:
    """A first signal lets the trainers leave; a second one ends everything at once. SIGUSR1 only lets go of a hold.

    A terminal that hangs up is such a signal, but not to one that was started by `nohup`.
    """
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    hangs_up = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
    for number in (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hangs_up else ())):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, number)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, job.let_fall_back)
    async with contextlib.AsyncExitStack() as stack:
        told = asyncio.ensure_future(signals.get())
        entering = asyncio.ensure_future(stack.enter_async_context(job))
        if await _first_of(entering, told) is told:
            entering.cancel()
            await asyncio.wait({entering})
            return SIGNALLED + told.result(), f"ended by {told.result().name} before anything began"
        await entering
        over = asyncio.ensure_future(job.wait())
        if await _first_of(over, told) is over:
            told.cancel()
            outcome = await over
            return outcome.status, outcome.message
        noted(f"{told.result().name}: the trainers are asked to end; once more, and all is killed")
        leaving, again = asyncio.ensure_future(job.leave()), asyncio.ensure_future(signals.get())
        await _first_of(leaving, again)
        for each in (over, leaving, again):
            each.cancel()
        return SIGNALLED + told.result(), f"ended by {told.result().name}"


async def _first_of(one: asyncio.Future[Any], other: asyncio.Future[Any]) -> asyncio.Future[Any]:
    """Which of them is over; the first one where both are."""
    await asyncio.wait({one, other}, return_when=asyncio.FIRST_COMPLETED)
    return one if one.done() else other
