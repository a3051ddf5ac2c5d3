"""How is the trainer started, watched and ended as one thing?

It leads a process group of its own and dies with this process. What it leaves behind comes to this process as orphans,
because it is PID 1 or has made itself their reaper. Must not decide what happens next.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from checkpointheal import tether

PR_SET_CHILD_SUBREAPER = 36
_CHANGES = os.WEXITED | os.WSTOPPED | os.WCONTINUED
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


@dataclass(frozen=True)
class Change:
    """Something happened to a child."""

    pid: int
    what: Literal["exited", "killed", "stopped", "continued"]
    number: int
    """Exit code or signal."""


_WHAT: dict[int, Literal["exited", "killed", "stopped", "continued"]] = {
    os.CLD_EXITED: "exited",
    os.CLD_KILLED: "killed",
    os.CLD_DUMPED: "killed",
    os.CLD_STOPPED: "stopped",
    os.CLD_TRAPPED: "stopped",
    os.CLD_CONTINUED: "continued",
}


def adopt_orphans() -> None:
    """Descendants whose parent dies become children of this process, as they do of a PID 1."""
    if os.getpid() != 1:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def start(command: Sequence[str], variables: Mapping[str, str]) -> int:
    """Start it, with `variables` besides ours; returns its pid, its process group's too.

    It reads no keyboard: it is started again.
    """
    launcher = [sys.executable, "-I", "-S", str(Path(tether.__file__)), str(os.getpid()), *command]
    return os.posix_spawn(
        sys.executable,
        launcher,
        {**os.environ, **variables},
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setpgroup=0,
        setsigmask=[],
        setsigdef=_IGNORED_BY_PYTHON,
    )


def send(group: int, number: int) -> None:
    """Signal the whole group. One that is gone is left in peace."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def send_each(pids: Sequence[int], number: int) -> None:
    """Signal children one by one. They are reaped by this thread alone, so none of the numbers can be another's."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def changes() -> Iterator[Change]:
    """Reap: everything that happened to children since the last call."""
    with contextlib.suppress(ChildProcessError):
        while (seen := os.waitid(os.P_ALL, 0, _CHANGES | os.WNOHANG)) is not None:
            yield Change(seen.si_pid, _WHAT[seen.si_code], seen.si_status)


def children() -> list[int]:
    """Living children of this process, orphans that it adopted included."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal() and _is_child(name)]


def _is_child(name: str) -> bool:
    try:
        with open(f"/proc/{name}/stat", "rb") as stat:
            state, parent, *_ = stat.read().rpartition(b")")[2].split()
    except OSError:
        return False
    return int(parent) == os.getpid() and state not in (b"Z", b"X")
