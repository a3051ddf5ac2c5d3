"""A pod is lost in a minute in which the API server takes no write, or not this one, or takes its time."""

import asyncio

import pytest

from builders_api import JOB, WHERE
from builders_core import m
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.shell import keeping
from checkpointheal_operator.shell.cluster import (
    EVENTS,
    HEALS,
    ClusterError,
    Conflict,
    Forbidden,
    Refused,
    TooManyRequests,
    Unreachable,
)
from checkpointheal_operator.shell.look import Surroundings
from checkpointheal_operator.shell.objects import Listening
from cluster_simulation import ClusterSimulation

MINUTE, ROUND = 60.0, 5.0
LOST = m("1/0")
TELLING = ("patch status of", "checkpointheals")
RECORDS = [("create", "heals"), ("patch", "heals")]
ERRORS = [TooManyRequests("slowly", 1.0), Unreachable("status 500"), Conflict("it was changed")]


def a_job_that_trains(**spec: object) -> ClusterSimulation:
    job = ClusterSimulation(3, 1, **spec)
    job.go_on()
    job.train_to(5)
    job.go_round()
    return job


def written_attempts(job: ClusterSimulation) -> set[tuple[str, int]]:
    heals = [Heal.model_validate(each) for each in job.cluster.all(HEALS)]
    return {(each.metadata.name, each.spec.assignment.attempt) for each in heals if each.spec.assignment}


def live_through_it(job: ClusterSimulation) -> list[float]:
    """The pod is replaced at its beginning. Seconds after which everybody was seen to train."""
    began, trained = job.now, []
    job.replace_pod(LOST)
    while job.now < began + MINUTE:
        job.go_round()
        ordered = {each.assignment for each in job.ordered.values() if each.assignment}
        assert {(each.heal, each.attempt) for each in ordered} <= written_attempts(job)
        trained += [job.now - began] if job.is_training else []
        job.now += ROUND
    return trained


def assert_healed_once(job: ClusterSimulation) -> None:
    job.go_on()
    assert job.is_training
    assert job.steps == {5}
    assert [each.spec.recipient.member for each in job.heals] == [LOST]
    assert job.heals[0].status.concluded_at is not None


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.reason)
@pytest.mark.parametrize("when", ["before", "after"])
def test_nothing_is_ordered_that_could_not_be_written_and_afterwards_all_is_healed(error: ClusterError, when: str):
    job = a_job_that_trains()
    ends = job.now + MINUTE

    def fail(_number: int) -> None:
        if job.now < ends:
            raise error

    setattr(job.cluster, when, fail)
    trained = live_through_it(job)
    assert bool(trained) == (when == "after"), "what was written stands, whether or not its answer came"
    assert job.errors
    assert_healed_once(job)


@pytest.mark.parametrize(
    "call", [("create", "heals"), ("patch", "heals"), ("patch status of", "heals"), ("create", "events")]
)
def test_a_right_that_is_missing_for_a_minute_costs_no_more_than_that_minute(call: tuple[str, str]):
    job = a_job_that_trains()
    ends = job.now + MINUTE

    def fail(number: int) -> None:
        if job.now < ends and job.cluster.calls[number] == call:
            raise Forbidden(f"may not {call[0]} {call[1]}")

    job.cluster.before = fail
    trained = live_through_it(job)
    assert bool(trained) == (call not in RECORDS), "a heal waits for its records, not for what people are told"
    assert job.errors
    assert_healed_once(job)


def test_a_server_that_takes_a_second_for_each_write_delays_and_does_not_confuse():
    job = a_job_that_trains()

    def take_time(_number: int) -> None:
        job.now += 1.0

    job.cluster.after = take_time
    assert live_through_it(job)
    assert not job.errors
    assert_healed_once(job)


def test_a_job_is_healed_again_and_again_while_no_event_can_be_made_and_they_are_all_made_afterwards():
    job = a_job_that_trains()
    is_refused = True

    def fail(number: int) -> None:
        if is_refused and job.cluster.calls[number] == ("create", "events"):
            raise Unreachable("status 500")

    job.cluster.before = fail
    for member in ("1/0", "2/0", "1/0"):
        job.replace_pod(m(member))
        job.go_on()
        assert job.is_training
        job.train_to(max(job.steps) + 3)
        job.go_round()
    assert not job.cluster.all(EVENTS)
    is_refused = False
    job.go_on()
    assert [each["reason"] for each in job.cluster.all(EVENTS)] == ["Healed"] * 3


def test_agents_are_ordered_what_was_decided_though_people_cannot_be_told():
    job = a_job_that_trains(historyLimit=0)

    def fail(number: int) -> None:
        if job.cluster.calls[number] == ("delete", "heals"):
            raise Refused("an admission policy keeps every Heal")

    job.cluster.before = fail
    for _ in range(3):
        job.replace_pod(LOST)
        job.go_on()
        assert job.is_training
        job.train_to(max(job.steps) + 3)
        job.go_round()
    assert any(isinstance(each, Refused) for each in job.errors)


def test_news_are_looked_at_while_people_cannot_be_told_and_cost_no_more_tries(monkeypatch):
    """A job that is busy looks many times a second."""

    def fail(number: int) -> None:
        if job.cluster.calls[number] == TELLING:
            raise Forbidden("may not patch status of checkpointheals")

    job, seen = ClusterSimulation(3, 1), []
    job.put_pods()
    job.cluster.before = fail
    now = 100.0
    monkeypatch.setattr(keeping.time, "monotonic", lambda: now)
    around = Surroundings(job.cluster, lambda: job.now)
    keeper = keeping.Keeper(around, (WHERE, JOB), keeping.Ties(lambda: Listening(0.0), seen.append))
    for _ in range(5):
        asyncio.run(keeper._look())
    assert (len(seen), job.cluster.calls.count(TELLING)) == (5, 1)
    now += keeping.SLOWEST
    asyncio.run(keeper._look())
    assert job.cluster.calls.count(TELLING) == 2
