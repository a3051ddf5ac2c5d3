"""`checkpointheal run --warm` with real, tiny trainers: never without a trainer, never with two, never left behind."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from checkpointheal_operator.local import pods

SECONDS = 60.0
TRAINER = """
import os, signal, subprocess, sys, time
LEFT = "import os, time; print(os.getpid(), 'an', 'orphan', flush=True); time.sleep(600)"
def leave(*_):
    subprocess.Popen([sys.executable, "-c", LEFT], start_new_session=True)
signal.signal(signal.SIGUSR1, leave)
print(os.getpid(), os.environ["CHECKPOINTHEAL_INCARNATION"], "warm" if "decimal" in sys.modules else "cold", flush=True)
sys.stdin.read()
while True:
    if os.path.exists("end"):
        sys.exit(7)
    time.sleep(0.02)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until_gone(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], SECONDS)[0], f"process {pid} is still there"
    finally:
        os.close(descriptor)


class Run:
    """`checkpointheal run --warm` around TRAINER, whose lives come out of `life`."""

    def __init__(self, folder: Path, modules: str, *options: str) -> None:
        (folder / "train.py").write_text(TRAINER)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CHECKPOINTHEAL_")}
        own = ("--backoff", "0", "--warm", "--warm-modules", modules, *options)
        command = [sys.executable, "-P", "-m", "checkpointheal.cli", "run", *own, "--", sys.executable, "train.py"]
        path = (str(folder / "modules"), os.environ.get("PYTHONPATH"))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def life(self) -> tuple[int, str, str]:
        """Pid, incarnation and temperature of the next trainer."""
        pid, incarnation, temperature = self._line(self.process.stdout).split()
        return int(pid), incarnation, temperature

    def wait_for(self, sentence: str) -> None:
        while sentence not in self._line(self.process.stderr):
            pass

    def children(self) -> set[int]:
        pid = self.process.pid
        return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}

    def warm(self, trainer: int) -> int:
        """The warm process, beside this trainer."""
        (pid,) = self.children() - {trainer}
        return pid

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def _line(self, stream) -> str:
        line = b""
        while not line.endswith(b"\n"):
            assert select.select([stream], [], [], SECONDS)[0], "nothing was said"
            read = os.read(stream.fileno(), 1)
            assert read, f"it ended, after {line.decode()!r}"
            line += read
        return line.decode()


@pytest.fixture
def run(tmp_path):
    running = []

    def start(*options, modules="decimal"):
        running.append(Run(tmp_path, modules, *options))
        return running[-1]

    (tmp_path / "modules").mkdir()
    yield start
    for each in running:
        each.close()


@pytest.mark.parametrize(("options", "first"), [((), "warm"), (("--warm-wait", "0"), "cold")])
def test_every_life_comes_from_one_warm_process_the_first_too_if_it_may_wait(run, options, first):
    running = run(*options)
    lives = [running.life()]
    if first == "cold":
        running.wait_for("the next trainer starts warm")
    warm = running.warm(lives[0][0])
    for _ in range(3):
        os.kill(lives[-1][0], signal.SIGKILL)
        lives.append(running.life())
        assert running.children() == {warm, lives[-1][0]}
        assert os.getpgid(lives[-1][0]) == lives[-1][0]
    assert [temperature for _, _, temperature in lives] == [first, "warm", "warm", "warm"]
    assert len({incarnation for _, incarnation, _ in lives}) == 4


def warm_life(running: Run) -> tuple[int, int]:
    """The first trainer; returns its pid and the warm process's."""
    running.wait_for("the next trainer starts warm")
    trainer, _, temperature = running.life()
    assert temperature == "warm"
    return trainer, running.warm(trainer)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_its_run(run, number):
    running = run()
    trainer, warm = warm_life(running)
    running.process.send_signal(number)
    wait_until_gone(trainer)
    wait_until_gone(warm)


def test_the_status_of_a_warm_trainer_is_its_own(run, tmp_path):
    running = run("--restarts", "0")
    warm_life(running)
    (tmp_path / "end").touch()
    running.wait_for("exit 7, failure 1")
    assert running.process.wait(SECONDS) == 7


def test_a_warm_trainer_hears_the_signals_that_run_is_sent(run):
    running = run()
    warm_life(running)
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(SECONDS) == 128 + signal.SIGTERM


def test_what_a_warm_life_leaves_behind_is_gone_before_the_next_one_starts(run):
    running = run()
    trainer, warm = warm_life(running)
    os.kill(trainer, signal.SIGUSR1)  # it leaves a process of another session behind
    orphan, *_ = running.life()
    assert is_alive(orphan)
    os.kill(trainer, signal.SIGKILL)
    third, *_ = running.life()
    assert not is_alive(orphan)
    assert running.children() == {warm, third}


def test_without_an_answer_the_trainer_starts_cold_and_alone(run):
    running = run()
    trainer, warm = warm_life(running)
    os.kill(warm, signal.SIGSTOP)
    os.kill(trainer, signal.SIGKILL)
    running.wait_for("the warm process does not answer; this start is cold")
    third, _, temperature = running.life()
    assert temperature == "cold"
    assert not is_alive(warm)
    assert running.children() == {third}


def test_a_warm_process_that_dies_is_missed_by_nobody_and_replaced(run):
    running = run()
    trainer, warm = warm_life(running)
    os.kill(warm, signal.SIGKILL)
    running.wait_for("the warm process is gone; another one follows")
    os.kill(trainer, signal.SIGKILL)
    third, _, temperature = running.life()
    assert temperature == "cold"
    running.wait_for("the next trainer starts warm")
    os.kill(third, signal.SIGKILL)
    assert running.life()[2] == "warm"


def test_a_warm_process_that_is_never_ready_keeps_nobody_waiting(run, tmp_path):
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    (tmp_path / "modules" / "endless.py").write_text(f"import time\nopen({str(begun)!r}, 'w').close()\ntime.sleep(600)")
    running = run("--warm-wait", "0.1", modules="decimal,endless")
    begun.open().close()
    first, _, temperature = running.life()
    assert temperature == "cold"
    warm = running.warm(first)
    os.kill(first, signal.SIGKILL)
    second, _, temperature = running.life()
    assert (temperature, running.children()) == ("cold", {warm, second})


@pytest.mark.parametrize("options", [(), ("--nproc-per-node", "2")])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_before_any_trainer_ran_it_leaves_as_one_that_the_signal_ended(run, tmp_path, number, options):
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    (tmp_path / "modules" / "endless.py").write_text(f"import time\nopen({str(begun)!r}, 'w').close()\ntime.sleep(600)")
    running = run(*options, modules="endless")
    begun.open().close()
    running.process.send_signal(number)
    assert running.process.wait(SECONDS) == 128 + number
    assert running.process.stdout.read() == ""


def test_a_process_that_must_not_be_forked_is_let_go_and_not_replaced(run, tmp_path):
    (tmp_path / "modules" / "busy.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
    )
    running = run(modules="busy")
    running.wait_for("all starts stay cold: the imports left 1 thread running")
    first, *_ = running.life()
    os.kill(first, signal.SIGKILL)
    second, _, temperature = running.life()
    assert (temperature, running.children()) == ("cold", {second})


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--warm", "--", "true"], 0, f"all starts stay cold: true is not {sys.executable}"),
        (["--warm", "--", sys.executable, "-Ic", "pass"], 0, "all starts stay cold: the interpreter is told -I"),
        (["--warm-modules", "os,", "--", "true"], 2, "modules are named like os,os.path, not 'os,'"),
    ],
)
def test_what_cannot_be_warm_is_explained(arguments, status, sentence):
    command = [sys.executable, "-m", "checkpointheal.cli", "run", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stderr.count(sentence)) == (status, 1)


def test_who_looks_for_the_trainer_does_not_find_the_process_that_it_was_forked_from(run):
    running = run()
    trainer, warm = warm_life(running)
    assert list(pods._trainers(sorted([warm, trainer]))) == [trainer]
    assert Path(f"/proc/{trainer}/comm").read_text() == Path(f"/proc/{running.process.pid}/comm").read_text()
