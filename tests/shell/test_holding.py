"""A job that is held, over the API: people are told once what would be lost, and one word of theirs lets it go on."""

import asyncio
from typing import Any

import pytest

from builders_api import JOB, WHERE
from builders_core import NOW, a_job, m
from checkpointheal_operator.core.decisions import Wait
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, EVENTS, Conflict, Ref
from checkpointheal_operator.shell.story import lines
from cluster_simulation import ClusterSimulation
from fake_cluster import Killed

REMEDY = "set spec.fallback to Checkpoint"


def all_replaced(job: ClusterSimulation) -> ClusterSimulation:
    """Every pod of a job that had trained is another one."""
    job.go_on()
    job.train_to(5)
    job.go_round()
    for member in ("0/0", "1/0"):
        job.replace_pod(m(member))
    job.go_on()
    return job


def let_fall_back(job: ClusterSimulation) -> None:
    ref = Ref(CHECKPOINTHEALS, WHERE, JOB)
    asyncio.run(job.cluster.patch(ref, {"spec": {"fallback": "Checkpoint"}}))
    job.go_on()


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    return {each["type"]: (each["status"], each["reason"], each["message"]) for each in status["conditions"]}


def held() -> ClusterSimulation:
    return ClusterSimulation(2, 1, fallback="Hold")


def test_what_is_held_is_a_condition_of_the_job_and_of_each_heal_and_an_event_of_its_pod():
    job = all_replaced(held())
    (policy,) = job.cluster.all(CHECKPOINTHEALS)
    status, reason, message = conditions(policy["status"])["Degraded"]
    assert (status, reason) == ("True", "Held")
    assert message.startswith("no arena survived: every pod that held a state is gone; spec.fallback is Hold")
    assert "trained since it, up to step 5, would be lost" in message
    assert REMEDY in message
    assert len(job.heals) == 2
    for heal in job.heals:
        (healed,) = (each for each in heal.status.conditions if each.type == "Healed")
        assert (healed.status, healed.reason) == ("Unknown", "Held")
        assert REMEDY in healed.message
        assert heal.status.concluded_at is None
    events = job.cluster.all(EVENTS)
    assert {(each["type"], each["reason"]) for each in events} == {("Warning", "Held")}
    assert {each["involvedObject"]["uid"] for each in events} == {pod.uid for pod in job.pods.values()}
    assert all(REMEDY in each["message"] for each in events)


def test_every_trainer_is_held_and_time_changes_nothing_and_writes_nothing():
    job = all_replaced(held())
    job.now += 600.0
    job.go_on()  # what the old pods held last is remembered
    written = len(job.cluster.calls)
    for _ in range(5):
        job.now += 600.0
        job.go_on()
    assert len(job.cluster.calls) == written
    assert all(pod.trainer and pod.trainer.held for pod in job.pods.values())
    assert not any(job.withdraw(member) for member in job.pods)


def test_a_word_lets_it_go_on_from_the_checkpoint_and_the_heals_say_so():
    job = all_replaced(held())
    let_fall_back(job)
    assert job.is_training
    verdicts = {each.reason for heal in job.heals for each in heal.status.conditions if each.type == "Healed"}
    assert verdicts == {"FellBack"}
    (policy,) = job.cluster.all(CHECKPOINTHEALS)
    assert conditions(policy["status"])["Degraded"][:2] == ("False", "AllWell")


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_operator_that_ends_at_any_write_holds_on_and_tells_once(when):
    undisturbed = all_replaced(held())
    for last in range(len(undisturbed.cluster.calls)):

        def end(number: int, last: int = last) -> None:
            if number == last:
                raise Killed

        job = held()
        setattr(job.cluster, when, end)
        all_replaced(job)
        assert isinstance(job.decisions[-1], Wait)
        assert job.decisions[-1].reason == Reason.HELD
        assert len(job.cluster.all(EVENTS)) == 2
        let_fall_back(job)
        assert job.is_training


@pytest.mark.parametrize("when", ["before", "after"])
def test_any_third_write_may_fail(when):
    def fail(number: int) -> None:
        if number % 3 == 0:
            raise Conflict("changed")

    job = held()
    setattr(job.cluster, when, fail)
    all_replaced(job)
    assert {each["reason"] for each in job.cluster.all(EVENTS)} == {"Held"}
    assert job.errors


def test_the_log_warns_of_it():
    decision = Wait(until=NOW, reason=Reason.HELD, message="no arena survived")
    (line,) = lines(decision, a_job())
    assert (line.message, line.level) == ("Wait (Held): no arena survived", 30)
