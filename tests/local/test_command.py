"""`checkpointheal local` at a terminal: bad input is one sentence, a Ctrl-C leaves nothing behind."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from builders_local import SAFETY, a_trainer, alive
from builders_run import DEAF, deaf
from checkpointheal_operator.local import bearing, command, keeper, places
from checkpointheal_operator.local.command import COMMAND_NOT_FOUND, _screen, main, parser, settings_of
from checkpointheal_operator.local.live import LiveView
from checkpointheal_operator.local.screen import OperatorLog
from checkpointheal_operator.local.settings import LocalSettings

READY = 'leave("ready", str(os.getpid())); wait_for("go")'
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN); " + READY


class Local:
    """The command, running in a folder of its own."""

    def __init__(self, folder: Path, trainer: tuple[str, ...], *options: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "checkpointheal.cli", "local", *options, "--", *trainer],
            cwd=folder,
            env=os.environ | {"OUT": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ready(self, members: int) -> list[int]:
        """Once every trainer is ready, all pids of the job."""
        self._until(lambda: all((self.folder / f"ready-{rank}").exists() for rank in range(members)))
        return [self.process.pid, *keeper.below(self.process.pid)]

    def memory(self) -> Path:
        """Where the arenas of the job lie."""
        (logs,) = (self.folder / "checkpointheal-local").iterdir()
        return places.SHARED_MEMORY / f"checkpointheal-{logs.name}"

    def gone(self, pids: list[int]) -> None:
        """Wait for what ends by itself once its parent has."""
        self._until(lambda: not alive(pids) and not self.memory().exists())

    def heard(self, sentence: str) -> None:
        """Wait until it says so."""
        assert self.process.stderr
        assert any(sentence in line for line in self.process.stderr)

    def _until(self, condition: object) -> None:
        until = time.monotonic() + SAFETY
        while not condition():  # type: ignore[operator]
            assert time.monotonic() < until
            time.sleep(0.01)


def test_how_few_may_go_on_is_the_policys_to_know() -> None:
    said = ["--replicas", "3", "--min-replicas", "2", "--go-on-after", "15", "--", "true"]
    policy = settings_of(parser().parse_args(said), ["true"]).policy
    assert (policy.replicas, policy.min_replicas, policy.go_on_without) == (3, 2, 15)
    plain = settings_of(parser().parse_args(["--", "true"]), ["true"]).policy
    assert (plain.min_replicas, plain.go_on_without) == (None, 30)


@pytest.mark.parametrize(
    "said",
    [["--go-on-after", "9", "--", "true"], ["--replicas", "1", "--min-replicas", "2", "--", "true"]],
    ids=["no time for an epoch to end", "more than there are"],
)
def test_what_could_never_be_is_refused_before_anything_starts(said: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(said)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_value_that_is_too_large_is_told_with_its_option(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["--local-ranks", "65", "--", "true"])
    assert "error: --local-ranks: Input should be less than or equal to 64\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (["--replicas", "2049"], "2049 members are asked for, replicas times ranks; a job has 2048 at most"),
        (["--replicas", "1000", "--ranks", "2"], "2000 members are more than this machine can bear: 8, by 1 cores"),
    ],
    ids=["of any job", "of this machine"],
)
def test_more_members_than_there_can_be_are_refused_before_anything_starts(
    said: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command.Machine, "here", lambda: bearing.Machine(1, 10**8))
    with pytest.raises(SystemExit) as ended:
        main([*said, "--", "true"])
    assert ended.value.code == 2
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"checkpointheal local: error: {told}")
    assert last == "checkpointheal local --help tells what can be said"


def test_who_means_it_has_as_many_as_they_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def trained(settings: LocalSettings, _screen: object, log: OperatorLog) -> int:
        log.close()
        return settings.policy.replicas

    monkeypatch.setattr(command, "_train", trained)
    monkeypatch.setattr(command.Machine, "here", lambda: bearing.Machine(1, 10**8))
    assert main(["--replicas", "40", "--crowded", "--dir", str(tmp_path), "--", "true"]) == 40


class Endless:
    """A job that is told to end while it is still being opened."""

    closed = False

    async def __aenter__(self) -> Self:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            self.closed = True
        return self

    async def __aexit__(self, *_: object) -> None:
        """Never entered, never left."""

    def let_fall_back(self) -> None:
        """Nothing is held."""


def test_a_signal_is_heard_while_the_job_is_still_being_opened() -> None:
    job = Endless()
    assert asyncio.run(command._until_over(job, print)) == (143, "ended by SIGTERM before anything began")
    assert job.closed


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    started: list[Local] = []

    def start(trainer: tuple[str, ...], *options: str) -> Local:
        started.append(Local(tmp_path, trainer, *options))
        return started[-1]

    yield start
    for local in started:
        local.process.kill()
        local.process.communicate()


def test_a_job_that_trains_to_its_end_is_a_success(start, tmp_path: Path) -> None:
    local = start(a_trainer('print("hello from", rank); leave("ran")'), "--replicas", "2", "--ranks", "2", "--cold")
    out, err = local.process.communicate(timeout=SAFETY)
    assert (local.process.returncode, out) == (0, "nobody had to be healed\n"), err
    assert len(list(tmp_path.glob("ran-*"))) == 4
    (logs,) = (tmp_path / "checkpointheal-local").iterdir()
    assert str(logs) in err
    assert (logs / "trainer-1-0.log").read_text() == "hello from 2\n"
    assert "AllDone" in (logs / "operator.log").read_text()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "options", "is_live"),
    [(Terminal(), [], True), (Terminal(), ["--plain"], False), (io.StringIO(), [], False), (None, [], False)],
    ids=["a terminal", "told to be plain", "a file", "closed"],
)
def test_a_terminal_alone_has_a_live_view(
    out: io.StringIO | None, options: list[str], is_live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = parser().parse_args([*options, "--", "true"])
    monkeypatch.setattr(sys, "stdout", out)
    screen = _screen(asked)
    monkeypatch.undo()
    assert isinstance(screen, LiveView) == is_live


@pytest.mark.parametrize("why", DEAF)
@pytest.mark.parametrize("fd", [1, 2])
def test_a_job_that_nobody_hears_ends_as_it_would(tmp_path: Path, why: str, fd: int) -> None:
    command = [sys.executable, "-m", "checkpointheal.cli", "local", "--replicas", "1", "--cold", "--verbose", "--"]
    trainer = a_trainer('leave("ran")')
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | deaf(why, fd)
    environment = os.environ | {"OUT": str(tmp_path)}
    done = subprocess.run([*command, *trainer], cwd=tmp_path, env=environment, timeout=SAFETY, check=False, **quiet)
    assert done.returncode == 0
    assert (tmp_path / "ran-0").exists()


@pytest.mark.parametrize("options", [[], ["--dir", "file"]])
def test_logs_that_can_go_nowhere_are_one_sentence(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("file", "checkpointheal-local"):
        (tmp_path / name).touch()
    with pytest.raises(SystemExit) as ended:
        main([*options, "--", "true"])
    assert ended.value.code == 2
    assert "name another folder with --dir" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_trainers_leave_and_nothing_stays(start, tmp_path: Path, number: signal.Signals) -> None:
    goodbye = 'signal.signal(signal.SIGTERM, lambda *_: (leave("goodbye"), sys.exit(0)));'
    local = start(a_trainer(goodbye + READY), "--replicas", "2")
    pids = local.ready(2)
    local.process.send_signal(number)
    _, err = local.process.communicate(timeout=SAFETY)
    assert local.process.returncode == 128 + number, err
    assert alive(pids) == []
    assert not local.memory().exists()
    assert len(list(tmp_path.glob("goodbye-*"))) == 2


def test_one_that_was_started_by_nohup_goes_on_without_its_terminal(
    start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    local = start(a_trainer(READY), "--replicas", "1", "--cold")
    signal.signal(signal.SIGHUP, before)
    local.ready(1)
    local.process.send_signal(signal.SIGHUP)
    (tmp_path / "go").touch()
    _, err = local.process.communicate(timeout=SAFETY)
    assert local.process.returncode == 0, err


def test_a_second_signal_waits_for_nobody(start) -> None:
    local = start(a_trainer(STUBBORN), "--replicas", "1")
    pids = local.ready(1)
    local.process.send_signal(signal.SIGINT)
    local.heard("once more")  # two signals at once would be one
    local.process.send_signal(signal.SIGINT)
    local.process.communicate(timeout=SAFETY)
    assert local.process.returncode == 130
    assert alive(pids) == []


def test_a_job_that_is_held_says_how_to_let_go_of_it_and_goes_on_when_told(start, tmp_path: Path) -> None:
    trainer = a_trainer('wait_for("go"); say(say="done")', speaks=True)
    local = start(trainer, "--replicas", "1", "--fallback", "hold", "--cold")
    local._until((tmp_path / "epoch-1-0").exists)
    os.kill(int((tmp_path / "epoch-1-0").read_text()), signal.SIGKILL)
    local.heard("Wait (Held): no agent holds a state, though the pods live")
    local.heard(f"kill -USR1 {local.process.pid} lets the job go on from your checkpoint")
    assert not (tmp_path / "epoch-2-0").exists()
    local.process.send_signal(signal.SIGUSR1)
    local._until((tmp_path / "epoch-2-0").exists)
    (tmp_path / "go").touch()
    out, err = local.process.communicate(timeout=SAFETY)
    assert local.process.returncode == 0, err
    assert "FellBack" in out


def test_a_killed_supervisor_leaves_neither_processes_nor_memory(start) -> None:
    local = start(a_trainer(STUBBORN), "--replicas", "2")
    pids = local.ready(2)
    assert local.memory().exists()
    local.process.kill()
    local.process.communicate()
    local.gone(pids)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--replicas", "0", "--", "true"],
        ["--replicas", "-1", "--", "true"],
        ["--replicas", "two", "--", "true"],
        ["--ranks", "0", "--", "true"],
        ["--arena-slots", "1", "--", "true"],
        ["--restarts", "-1", "--", "true"],
        ["--fallback", "fresh", "--", "true"],
        ["--private-behind", "never", "--", "true"],
        ["--colour", "--", "true"],
        ["--"],
        [],
    ],
    ids=" ".join,
)
def test_bad_input_is_refused_before_anything_starts(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2
    assert "checkpointheal local: error:" in capsys.readouterr().err


def test_a_command_that_there_is_not_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--", "no-such-trainer"]) == COMMAND_NOT_FOUND
    assert capsys.readouterr().err == "checkpointheal local: no-such-trainer: no such command\n"


def test_the_command_line_fills_the_form(tmp_path: Path) -> None:
    options = ["--replicas", "3", "--ranks", "2", "--dir", str(tmp_path), "--arena-slots", "4", "--restarts", "9"]
    asked = parser().parse_args([*options, "--", "python", "train.py", "--replicas", "7"])
    settings = settings_of(asked, asked.command[1:])
    assert (settings.policy.replicas, settings.policy.ranks) == (3, 2)
    assert (settings.logs, settings.slots, settings.trainer_restarts) == (tmp_path, 4, 9)
    assert settings.command == ("python", "train.py", "--replicas", "7")
    assert settings.policy.fallback == "Checkpoint"
    held = parser().parse_args(["--fallback", "hold", "--", "true"])
    assert settings_of(held, held.command[1:]).policy.fallback == "Hold"
    assert settings.policy.private_behind == "Refuse"
    allowed = parser().parse_args(["--private-behind", "allow", "--", "true"])
    assert settings_of(allowed, allowed.command[1:]).policy.private_behind == "Allow"
