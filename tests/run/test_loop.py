"""`checkpointheal run` with real, tiny trainers: started again, signalled, stopped, reaped and never left behind."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from builders_run import PROMPT, SECONDS, Agent, is_alive, wait_until_gone
from checkpointheal.contract.trainer import EndTrainer


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_the_trainer_s_status_is_its_own(run, script, status):
    assert run(script, "--restarts", "0").end()[0] == status


def test_a_failed_trainer_is_started_again_up_to_the_limit(run):
    status, said, complaints = run("echo started; exit 3", *PROMPT, "--restarts", "1").end()
    assert (status, said.count("started")) == (3, 2)
    assert "exit 3, failure 1 of 1; the trainer starts again" in complaints
    assert "no more restarts" in complaints


def test_the_end_of_an_epoch_is_no_failure(run, tmp_path):
    script = f"echo life >> {tmp_path}/lives; [ $(wc -l < {tmp_path}/lives) = 3 ] || exit 75"
    status, _, complaints = run(script, "--restarts", "0").end()
    assert status == 0
    assert complaints.count("its epoch is over") == 2


def test_each_life_has_an_incarnation_of_its_own(run):
    lives = run("echo $CHECKPOINTHEAL_INCARNATION; exit 1", *PROMPT, "--restarts", "1").end()[1].split()
    assert len(set(lives)) == 2
    assert all(len(each) == 32 for each in lives)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_told_to_end_passes_it_on_and_leaves_with_the_trainer_s_status(run, number):
    running = run(f"trap 'echo told; exit 9' {number.value}; echo ready; while :; do sleep 0.05; done")
    assert running.line() == "ready"
    running.send(number)
    status, said, _ = running.end()
    assert (status, said.split()) == (9, ["told"])


def test_other_signals_are_passed_on_and_end_nothing(run):
    running = run("trap 'echo one' USR1; trap 'echo two' HUP; echo ready; while :; do sleep 0.05; done")
    assert running.line() == "ready"
    running.send(signal.SIGUSR1)
    assert running.line() == "one"
    running.send(signal.SIGHUP)
    assert running.line() == "two"
    running.send(signal.SIGTERM)
    assert running.end()[0] == 143


def test_a_trainer_that_stands_still_hears_that_it_must_end(run):
    running = run("echo $$; kill -STOP $$; sleep 600")
    running.line()
    running.send(signal.SIGTERM)
    assert running.end()[0] == 143


def test_told_to_end_between_two_lives_it_does_not_begin_another(run):
    running = run("echo started; exit 3", "--backoff", "600")
    assert running.line() == "started"
    while "starts again" not in running.process.stderr.readline():
        pass
    running.send(signal.SIGTERM)
    assert running.end()[:2] == (3, "")


def test_what_a_life_leaves_behind_is_gone_before_the_next_one_starts(run, tmp_path):
    orphan = tmp_path / "orphan"
    script = (
        f'[ -e {orphan} ] && {{ kill -0 $(cat {orphan}) 2>/dev/null && echo "still there"; exit 0; }}\n'
        f"setsid sh -c 'echo $$ > {orphan}; echo orphan; exec sleep 600 > /dev/null' &\n"
        f"while [ ! -s {orphan} ]; do sleep 0.01; done; exit 1"
    )
    status, said, _ = run(script, *PROMPT).end()
    assert (status, said.split()) == (0, ["orphan"])
    assert not is_alive(int(orphan.read_text()))


def test_a_trainer_does_not_outlive_its_run(run):
    running = run("echo $$; exec sleep 600")
    trainer = int(running.line())
    running.process.kill()
    wait_until_gone(trainer)


def test_the_trainer_reads_no_keyboard_and_ignores_no_signal(run):
    status, said, _ = run("cat; grep SigIgn /proc/self/status").end()
    ordinary = (1 << 31) - 1  # above them are the C library's own, which it may have inherited
    assert (status, int(said.split()[1], 16) & ordinary) == (0, 0)


def test_the_agent_hears_of_every_life_and_how_it_ended(run, agent, tmp_path):
    run("echo $CHECKPOINTHEAL_INCARNATION; exit 4", *PROMPT, "--restarts", "1", arena=tmp_path)
    agent.accept()
    first = agent.hear("hello")
    assert first.role == "run"
    ended = agent.hear("exited")
    assert (ended.incarnation, ended.code) == (first.incarnation, 4)
    second = agent.hear("hello")
    assert second.incarnation != first.incarnation
    assert agent.hear("exited").incarnation == second.incarnation


def test_the_agent_hears_of_a_trainer_that_stands_still_and_can_have_it_killed(run, agent, tmp_path):
    script = f"[ -e {tmp_path}/second ] && exit 0; touch {tmp_path}/second; kill -STOP $$"
    running = run(script, "--restarts", "0", arena=tmp_path)
    agent.accept()
    incarnation = agent.hear("hello").incarnation
    stopped = agent.hear("exited")
    assert (stopped.incarnation, stopped.stopped, stopped.signal) == (incarnation, True, None)
    agent.say(EndTrainer(incarnation="another life", reason="Late"))
    agent.say(EndTrainer(incarnation=incarnation, reason="TrainerStopped"))
    assert agent.hear("exited").signal == signal.SIGKILL
    status, _, complaints = running.end()
    assert status == 0
    assert "the agent ends this trainer: TrainerStopped" in complaints
    assert "Late" not in complaints


def test_the_agent_hears_that_a_trainer_goes_on(run, agent, tmp_path):
    running = run("echo $$; kill -STOP $$; echo goes on; sleep 600", arena=tmp_path)
    agent.accept()
    trainer = int(running.line())
    assert agent.hear("exited").stopped
    os.kill(trainer, signal.SIGCONT)
    goes_on = agent.hear("exited")
    assert (goes_on.stopped, goes_on.code, goes_on.signal) == (False, None, None)
    running.send(signal.SIGTERM)
    assert running.end()[0] == 143


def test_an_agent_that_comes_back_hears_where_things_stand(run, agent, tmp_path):
    running = run("sleep 600", arena=tmp_path)
    agent.accept()
    first = agent.hear("hello")
    agent.connection.shutdown(socket.SHUT_RDWR)
    agent.lines.close()
    agent.connection.close()
    agent.accept()
    assert agent.hear("hello") == first
    running.send(signal.SIGTERM)
    assert agent.hear("exited").signal == signal.SIGTERM


def test_an_end_that_nobody_could_be_told_of_is_told_to_the_next_agent(run, tmp_path):
    running = run("echo started; exit 5", "--backoff", "2", arena=tmp_path)
    assert running.line() == "started"
    while "starts again" not in running.process.stderr.readline():
        pass
    agent = Agent(tmp_path)
    agent.accept()
    assert agent.hear("exited").code == 5
    agent.close()


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        ([], 2, "there is no command to start"),
        (["--"], 2, "there is no command to start"),
        (["--", "no-such-command"], 127, "no-such-command: no such command"),
        (["--warm", "--", "python3", "-u", "no-such-script.py"], 127, "no-such-script.py: no such file"),
        (["--restarts", "-1", "--", "true"], 2, "0 or more, not '-1'"),
        (["--backoff", "soon", "--", "true"], 2, "0 or more, not 'soon'"),
        (["--backoff", "inf", "--", "true"], 2, "0 or more, not 'inf'"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_explained(arguments, status, sentence):
    command = [sys.executable, "-m", "checkpointheal.cli", "run", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == status
    assert sentence in done.stderr
