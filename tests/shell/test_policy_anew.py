"""A CheckpointHeal that is made anew while all train says that they do, and heals the next loss from memory."""

import pytest

from builders_api import JOB, WHERE, a_policy
from builders_core import m
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, HEALS, Ref
from cluster_simulation import ClusterSimulation

MEMBER = m("1/0")


def made_anew() -> ClusterSimulation:
    job = ClusterSimulation(3, 1)
    job.go_on()
    job.train_to(5)
    for ref in [ref for ref in job.cluster.objects if ref.kind in (CHECKPOINTHEALS, HEALS)]:
        del job.cluster.objects[ref]
    job.cluster.put(CHECKPOINTHEALS, a_policy(layout={"replicas": 3, "ranks": 1}))
    job.train_to(8)
    job.go_round()
    return job


def training(job: ClusterSimulation) -> tuple[str, str]:
    conditions = job.cluster.objects[Ref(CHECKPOINTHEALS, WHERE, JOB)]["status"]["conditions"]
    return next((each["status"], each["reason"]) for each in conditions if each["type"] == "Training")


def test_it_says_that_all_train_in_an_epoch_that_it_has_not_seen_begin() -> None:
    job = made_anew()
    assert training(job) == ("True", "BeganBefore")
    assert job.is_training


@pytest.mark.parametrize("lose", [ClusterSimulation.replace_pod, ClusterSimulation.kill_trainer])
def test_a_loss_is_healed_without_a_step_back(lose) -> None:
    job = made_anew()
    lose(job, MEMBER)
    job.go_on()
    assert job.is_training
    assert job.steps == {8}
    assert training(job) == ("True", "EveryoneWaits")
