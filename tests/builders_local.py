"""Small jobs of this machine: trainers of a few lines that load no torch, and ways to look at their processes."""

import asyncio
import contextlib
import secrets
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.local import keeper
from checkpointheal_operator.local.pods import Pod
from checkpointheal_operator.local.restarts import Limits
from checkpointheal_operator.local.settings import LocalSettings

SAFETY = 90.0
"""Seconds after which a test that waits in vain gives up. No test is about speed."""

IDLE_AGENT = (sys.executable, "-I", "-S", "-c", "import signal; signal.pause()")
"""An agent that never says a word: most of a pod's life does not need one."""

PREFACE = """
import os, pathlib, signal, socket, subprocess, sys, time
out, rank = pathlib.Path(os.environ["OUT"]), os.environ["RANK"]
def leave(name, text=""):
    part = out / f".{name}-{rank}-{os.getpid()}"
    part.write_text(text)
    part.rename(out / f"{name}-{rank}")
def wait_for(name):
    while not (out / name).exists():
        time.sleep(0.01)
"""
SPEAK = """
import json
arena, own = os.environ["CHECKPOINTHEAL_ARENA"], os.environ["CHECKPOINTHEAL_INCARNATION"]
def speak():
    while True:
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(arena + "/agent.sock")
            return line
        except OSError:
            line.close()
            time.sleep(0.01)
line = speak()
def say(**said):
    line.sendall(json.dumps(said).encode() + b"\\n")
say(say="hello", role="trainer", protocol=1, incarnation=own, pid=os.getpid(), epoch=0)
say(say="wait", request=1, budget=90)
for heard in map(json.loads, line.makefile("rb")):
    if heard["say"] == "restored":
        break
epoch = heard["epoch"]
say(say="applied", epoch=epoch, step=None, seconds=0.25)
say(say="rejoined", epoch=epoch, seconds=0.5)
leave(f"epoch-{epoch}", str(os.getpid()))
"""


def a_trainer(program: str, *, speaks: bool = False) -> tuple[str, ...]:
    """A command that runs `program`, which may `leave(NAME)` files `NAME-RANK` and `wait_for` files, in $OUT."""
    return (sys.executable, "-I", "-S", "-c", PREFACE + (SPEAK if speaks else "") + program)


def a_job(folder: Path, command: tuple[str, ...], **changes: object) -> LocalSettings:
    """Settings of a job whose pods and trainers fail at once, for good."""
    replicas, ranks = changes.pop("replicas", 1), changes.pop("ranks", 1)
    facts: dict[str, object] = {
        "job": f"test-{secrets.token_hex(4)}",
        "command": command,
        "agent": IDLE_AGENT,
        "policy": Policy(replicas=replicas, ranks=ranks),
        "logs": folder / "logs",
        "trainer_restarts": 0,
        "warm": False,
        "pod_restarts": Limits(restarts=0, backoff=0.01),
        "environment": {"PATH": "/usr/bin:/bin", "OUT": str(folder)},
    }
    return LocalSettings(**(facts | changes))


def running(work: Awaitable[None]) -> None:
    """Run a test's coroutine, and end it should it wait in vain."""

    async def bounded() -> None:
        async with asyncio.timeout(SAFETY):
            await work

    asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    """Wait until it holds."""
    while not condition():
        await asyncio.sleep(0.01)


def alive(pids: Iterator[int] | list[int]) -> list[int]:
    """Those of the pids that are processes, and no zombies."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
            if state not in (b"Z", b"X"):
                found.append(pid)
    return found


def processes_of(pod: Pod) -> list[int]:
    """The keeper and everything below it."""
    return [pod.keeper_pid, *keeper.below(pod.keeper_pid)] if pod.keeper_pid else []
