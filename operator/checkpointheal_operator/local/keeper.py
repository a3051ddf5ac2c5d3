"""What holds the processes of one pod together: `python -I -S keeper.py TETHER ARENA`, words in, answers out.

A program of its own, run by path, and the reaper of everything that starts below it: whatever group or session a
descendant puts itself into, it stays in this tree. When stdin ends, because the supervisor let go of it or died, or on
SIGTERM, everything in the tree is killed and the arena removed. Must not know what its processes are for.

    in   {"do": "start", "name": N, "command": [...], "environment": {...}, "log": FILE}
         {"do": "signal", "name": N, "number": SIGNAL}
    out  {"name": N, "pid": PID} after each start; {"name": N, "status": S, "killed": B} after each end: a shell's exit
         status, and whether it ended by a signal rather than by itself
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
POD_UID = "CHECKPOINTHEAL_POD_UID"
"""Every process of a pod carries its uid in this variable: the second way to find it, once its keeper is gone."""
SIGNALLED = 128
UNKILLABLE = 10.0
"""Seconds after which a process that SIGKILL does not end, stuck in the kernel, is no longer waited for."""
_BETWEEN_LOOKS = 0.005
_EMPTY_LOOKS = 3
_ROUNDS = 100


def main(argv: list[str]) -> int:
    """Keep a pod until stdin ends."""
    tether, arena = argv
    supervisor = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        Keeper(tether).serve(woken)
    except BrokenPipeError:
        pass  # the supervisor is gone
    finally:
        kill_below(os.getpid())
        shutil.rmtree(arena, ignore_errors=True)
        if os.getppid() != supervisor:  # it died: the last of its pods takes the job's own folder along
            with contextlib.suppress(OSError):
                _remove(os.path.dirname(arena))
    return 0


def _remove(folder: str) -> None:
    """With the doors that the supervisor opened there. Raises OSError while another pod's arena lies in it."""
    for entry in os.scandir(folder):
        if stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
            os.unlink(entry.path)
    os.rmdir(folder)


class Keeper:
    """Starts, signals and reaps. One process per name at a time."""

    def __init__(self, tether: str) -> None:
        self._tether = tether
        self._pids: dict[str, int] = {}
        self._heard = b""

    def serve(self, woken: int) -> None:
        """Returns at the end of stdin or at SIGTERM."""
        while True:
            readable, _, _ = select.select([0, woken], [], [])
            if woken in readable and signal.SIGTERM in os.read(woken, 4096):
                return
            self._reap()
            if 0 in readable and not self._hear():
                return

    def _hear(self) -> bool:
        heard = os.read(0, 1 << 16)
        *lines, self._heard = (self._heard + heard).split(b"\n")
        for line in lines:
            self._do(json.loads(line))
        return bool(heard)

    def _do(self, said: dict[str, Any]) -> None:
        name = said["name"]
        if said["do"] == "start" and name not in self._pids:
            self._pids[name] = _start([self._tether, str(os.getpid()), *said["command"]], said)
            _say(name=name, pid=self._pids[name])
        elif said["do"] == "signal" and name in self._pids:
            os.kill(self._pids[name], said["number"])

    def _reap(self) -> None:
        for pid, status, killed in reap():
            for name in [name for name, known in self._pids.items() if known == pid]:
                del self._pids[name]
                _say(name=name, status=status, killed=killed)


def reap() -> list[tuple[int, int, bool]]:
    """Every child that has ended since, its status as a shell would say it, and whether a signal ended it."""
    ended: list[tuple[int, int, bool]] = []
    with contextlib.suppress(ChildProcessError):
        while (seen := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)) is not None:
            exited = seen.si_code == os.CLD_EXITED
            ended.append((seen.si_pid, seen.si_status if exited else SIGNALLED + seen.si_status, not exited))
    return ended


def kill_below(root: int) -> None:
    """Kill every living descendant of `root`, and those made meanwhile. Reaps where `root` is this process."""
    for alive in _until_none(lambda: below(root)):
        _kill(alive)
        if root == os.getpid():
            reap()


def kill_marked(uid: str) -> None:
    """Kill every living process that carries the pod's uid."""
    for alive in _until_none(lambda: marked(uid)):
        _kill(alive)


def _until_none(look: Callable[[], list[int]]) -> Iterator[list[int]]:
    """Who is alive, look after look, until looks find nobody: one alone may have missed who was just being made."""
    until, empty = time.monotonic() + UNKILLABLE, 0
    while empty < _EMPTY_LOOKS and time.monotonic() < until:
        alive = look()
        empty = 0 if alive else empty + 1
        yield alive
        time.sleep(_BETWEEN_LOOKS)


def below(root: int) -> list[int]:
    """Living descendants of `root`, parents first."""
    children: dict[int, list[tuple[int, bytes]]] = {}
    for pid, state, parent in _processes():
        children.setdefault(parent, []).append((pid, state))
    found: list[int] = []
    look_below = [root]
    while look_below:
        for pid, state in children.get(look_below.pop(), ()):
            look_below.append(pid)
            if state not in (b"Z", b"X"):
                found.append(pid)
    return found


def children(parent: int) -> list[int]:
    """Living children of `parent`, oldest pid first."""
    return sorted(pid for pid, state, above in _processes() if above == parent and state not in (b"Z", b"X"))


def _pids() -> Iterator[str]:
    """Of every process, those included that were made while the others were looked at: their parents may be gone."""
    seen: set[str] = set()
    for _ in range(_ROUNDS):
        new = [name for name in os.listdir("/proc") if name.isdecimal() and name not in seen]
        if not new:
            return
        seen.update(new)
        yield from new


def _processes() -> list[tuple[int, bytes, int]]:
    """Pid, state and parent's pid of every process."""
    found: list[tuple[int, bytes, int]] = []
    for name in _pids():
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as said:
            state, parent, *_ = said.read().rpartition(b")")[2].split()
            found.append((int(name), state, int(parent)))
    return found


def marked(uid: str) -> list[int]:
    """Every living process that carries the pod's uid; a zombie has no environment any more."""
    return [int(name) for name in _pids() if carries(int(name), f"{POD_UID}={uid}")]


def carries(pid: int, variable: str) -> bool:
    """Whether a process was started with `NAME=VALUE` in its environment."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as environment:
            return variable.encode() in environment.read().split(b"\0")
    except OSError:
        return False


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _start(arguments: list[str], said: dict[str, Any]) -> int:
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", *arguments],
        said["environment"],
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, said["log"], append, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setpgroup=0,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )


def _say(**said: object) -> None:
    os.write(1, json.dumps(said).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
