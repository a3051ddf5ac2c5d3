"""Whatever a pod's processes do, none of them outlives its keeper."""

import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builders_local import PREFACE, SAFETY, alive
from checkpointheal_operator.local import keeper
from checkpointheal_operator.local.places import tether

UID = f"pod-of-test-{secrets.token_hex(8)}"
TELL = PREFACE + 'leave("pid", str(os.getpid())); time.sleep(600)'
FLIGHTS = {
    "stays": TELL,
    "has a child that leads a session of its own": PREFACE
    + """
if os.fork() == 0:
    os.setsid()
    leave("pid", str(os.getpid()))
time.sleep(600)
""",
    "forks twice, as daemons do": PREFACE
    + """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        leave("pid", str(os.getpid()))
        time.sleep(600)
    os._exit(0)
time.sleep(600)
""",
    "ignores every signal that can be ignored": PREFACE
    + """
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
leave("pid", str(os.getpid()))
time.sleep(600)
""",
    "stands still": PREFACE + 'leave("pid", str(os.getpid())); os.kill(os.getpid(), signal.SIGSTOP)',
    "forks without end": PREFACE
    + """
leave("pid", str(os.getpid()))
until = time.monotonic() + 30
while time.monotonic() < until:
    if os.fork() == 0:
        os.setsid()
    else:
        time.sleep(0.02)
        os._exit(0)
""",
}
ENDS = {
    "its stdin ends": lambda kept: kept.stdin.close(),
    "it is told to end": lambda kept: kept.send_signal(signal.SIGTERM),
}


class Kept:
    """A keeper, and what it answers."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.arena = folder, folder / "job" / "arena"
        self.arena.mkdir(parents=True)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, tether(), str(self.arena)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def start(self, program: str, name: str = "run") -> int:
        """Returns the pid."""
        environment = {"OUT": str(self.folder), "RANK": "0", keeper.POD_UID: UID}
        command = [sys.executable, "-I", "-S", "-c", program]
        self.say(do="start", name=name, command=command, environment=environment, log=str(self.folder / "log"))
        return int(self.hear()["pid"])

    def say(self, **said: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(said).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout
        return dict(json.loads(self.process.stdout.readline()))

    def told_pid(self) -> int:
        """What the started process has left as its own, or its child's, pid."""
        until = time.monotonic() + SAFETY
        while not (self.folder / "pid-0").exists():
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.01)
        return int((self.folder / "pid-0").read_text())


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(tmp_path)
    yield kept
    if kept.process.stdin:
        kept.process.stdin.close()
    kept.process.wait()
    if kept.process.stdout:
        kept.process.stdout.close()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("flight", FLIGHTS)
def test_nothing_is_left_of_a_pod_when_its_keeper_ends(kept: Kept, flight: str, end: str) -> None:
    started = kept.start(FLIGHTS[flight])
    fled = kept.told_pid()
    ENDS[end](kept.process)
    assert kept.process.wait() == 0
    assert alive([started, fled]) == []
    assert keeper.marked(UID) == []
    assert not kept.arena.exists()


@pytest.mark.parametrize("flight", FLIGHTS)
def test_nothing_is_left_where_the_keeper_itself_was_killed(kept: Kept, flight: str) -> None:
    started = kept.start(FLIGHTS[flight])
    fled = kept.told_pid()
    kept.process.kill()
    kept.process.wait()
    keeper.kill_marked(UID)
    assert keeper.marked(UID) == []
    until = time.monotonic() + SAFETY  # what its tether killed may have lost its mark, and still be on its way out
    while alive([started, fled]):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_stopped_keeper_and_all_below_it_can_be_killed_from_outside(kept: Kept) -> None:
    started = kept.start(TELL)
    kept.told_pid()
    kept.process.send_signal(signal.SIGSTOP)
    keeper.kill_below(kept.process.pid)
    assert alive([started]) == []
    kept.process.kill()


@pytest.mark.parametrize(
    ("program", "status"),
    [("", 0), ("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137), ("x", 1)],
    ids=["success", "an exit code", "a signal", "an exception"],
)
def test_an_end_is_told_as_a_shell_would(kept: Kept, program: str, status: int) -> None:
    kept.start(program)
    assert kept.hear() == {"name": "run", "status": status, "killed": status >= 128}


def test_an_ended_process_can_be_started_again(kept: Kept) -> None:
    first = kept.start("")
    kept.hear()
    assert kept.start("") != first


def test_a_signal_reaches_the_named_process_alone(kept: Kept) -> None:
    kept.start("import signal; signal.pause()", "agent")
    kept.start("import signal; signal.pause()", "run")
    kept.say(do="signal", name="nobody", number=signal.SIGKILL)
    kept.say(do="signal", name="run", number=signal.SIGKILL)
    assert kept.hear() == {"name": "run", "status": 128 + signal.SIGKILL, "killed": True}


def test_what_a_process_writes_is_added_to_its_log(kept: Kept) -> None:
    for _ in range(2):
        kept.start("import sys; print('out'); sys.stderr.write('err\\n')")
        kept.hear()
    assert sorted((kept.folder / "log").read_text().split()) == ["err", "err", "out", "out"]
