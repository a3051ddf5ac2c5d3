"""`checkpointheal run --nproc-per-node`: several tiny trainers of one pod, each started again by itself."""

import os
import signal

import pytest

from builders_run import PROMPT, Agent, is_alive, wait_until_gone
from checkpointheal.contract.trainer import EndTrainer

TWO = ("--nproc-per-node", "2", *PROMPT)
RANK = "$LOCAL_RANK"
SEATED = {"CHECKPOINTHEAL_MEMBER": "1/0", "CHECKPOINTHEAL_LOCAL_RANKS": "2", "CHECKPOINTHEAL_RANKS": "1"}


@pytest.fixture
def agents(tmp_path):
    """Of both seats."""
    found = []
    for each in range(2):
        (tmp_path / str(each)).mkdir()
        found.append(Agent(tmp_path / str(each)))
    yield found
    for agent in found:
        agent.close()


def test_each_trainer_is_told_its_ranks_and_the_pod_ends_when_all_have(run):
    status, said, _ = run("echo $LOCAL_RANK of $LOCAL_WORLD_SIZE, $RANK of $WORLD_SIZE", *TWO).end()
    assert (status, sorted(said.splitlines())) == (0, ["0 of 2, 0 of 2", "1 of 2, 1 of 2"])


def test_a_pods_place_gives_its_trainers_their_ranks(run, tmp_path, agents):
    _, said, _ = run("echo $RANK of $WORLD_SIZE", *TWO, arena=tmp_path, WORLD_SIZE="4", **SEATED).end()
    assert sorted(said.splitlines()) == ["2 of 4", "3 of 4"]


def test_a_trainer_that_is_killed_is_started_again_and_the_other_one_goes_on(run, tmp_path, agents):
    pod = run("echo $LOCAL_RANK $$; exec sleep 60", *TWO, arena=tmp_path, **SEATED)
    lives = dict(pod.line().split() for _ in range(2))
    incarnations = []
    for agent in agents:
        agent.accept()
        incarnations.append(agent.hear("hello").incarnation)
    os.kill(int(lives["1"]), signal.SIGKILL)
    rank, again = pod.line().split()
    assert (rank, again != lives["1"]) == ("1", True)
    ended = agents[1].hear("exited")
    assert (ended.signal, ended.incarnation) == (9, incarnations[1])
    assert agents[1].hear("hello").incarnation != incarnations[1]
    agents[0].say(EndTrainer(incarnation=incarnations[0], reason="why"))
    assert pod.line().split()[0] == "0"
    assert agents[0].hear("exited").incarnation == incarnations[0], "nothing else was said to it before"
    pod.send(signal.SIGTERM)
    assert pod.end()[0] == 143


def test_one_that_fails_for_good_takes_the_others_along_with_its_status(run, tmp_path):
    failing = f"until [ -e {tmp_path}/fail ]; do sleep 0.05; done; exit 3"
    pod = run(f"if [ {RANK} = 1 ]; then {failing}; fi; echo $$; exec sleep 60", *TWO, "--restarts", "0")
    other = int(pod.line())
    (tmp_path / "fail").touch()
    status, _, complaints = pod.end()
    assert (status, "local rank 1 has failed for good: the others are told to end" in complaints) == (3, True)
    assert not is_alive(other)


def test_one_that_is_done_waits_for_the_others(run, tmp_path):
    script = (
        f"if [ {RANK} = 0 ]; then echo done; exit 0; fi; echo waits; until [ -e {tmp_path}/go ]; do sleep 0.05; done"
    )
    pod = run(script, *TWO)
    assert {pod.line(), pod.line()} == {"done", "waits"}
    assert pod.process.poll() is None
    (tmp_path / "go").touch()
    assert pod.end()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_goes_on_to_every_trainer(run, number):
    name = number.name.removeprefix("SIG")
    pod = run(f"trap 'echo heard; exit 0' {name}; echo ready; while :; do sleep 0.05; done", *TWO)
    assert [pod.line(), pod.line()] == ["ready", "ready"]
    pod.send(number)
    assert [pod.line(), pod.line()] == ["heard", "heard"]
    assert pod.end()[0] == 0


def test_nothing_is_left_when_it_is_killed_itself(run):
    pod = run("echo $$; exec sleep 60", *TWO)
    trainers = [int(pod.line()) for _ in range(2)]
    pod.send(signal.SIGKILL)
    for each in trainers:
        wait_until_gone(each)


def test_another_number_than_the_pods_is_refused_before_anything_starts(run, tmp_path):
    status, said, complaints = run("echo started", "--nproc-per-node", "3", arena=tmp_path, **SEATED).end()
    assert (status, said) == (2, "")
    assert "has 2 local ranks by its annotation checkpointheal.dev/local-ranks, and --nproc-per-node is 3" in complaints


@pytest.mark.parametrize("number", ["0", "65", "two"])
def test_a_number_of_processes_that_cannot_be_is_refused(run, number):
    status, _, complaints = run("exit 0", "--nproc-per-node", number).end()
    assert (status, "a number of processes is 1 to 64" in complaints) == (2, True)


def test_the_agents_of_all_seats_hear_of_a_launcher_that_starts_all_trainers(run, tmp_path, agents):
    pod = run("echo started; exec sleep 60", *PROMPT, arena=tmp_path, **SEATED)
    assert pod.line() == "started"
    for agent in agents:
        agent.accept()
    first, second = (agent.hear("hello").incarnation for agent in agents)
    assert first == second
    agents[1].say(EndTrainer(incarnation=first, reason="why"))
    assert {agent.hear("exited").signal for agent in agents} == {9}
    pod.send(signal.SIGTERM)
    pod.end()
