"""The whole way over the API: read, decide, write, until the job trains again, wherever the operator's process ends."""

from collections.abc import Callable

import pytest

from builders_core import m
from checkpointheal_operator.shell.cluster import (
    EVENTS,
    Conflict,
    TooManyRequests,
    Unreachable,
)
from cluster_simulation import ClusterSimulation
from fake_cluster import Killed


def a_replaced_pod(job: ClusterSimulation) -> None:
    """From first start over one lost pod to training again."""
    job.go_on()
    job.train_to(5)
    job.go_round()
    job.replace_pod(m("1/0"))
    job.go_on()


def a_whole_replica(job: ClusterSimulation) -> None:
    job.go_on()
    job.train_to(5)
    job.go_round()
    for member in ("1/0", "1/1"):
        job.replace_pod(m(member))
    job.go_on()


def a_crash(job: ClusterSimulation) -> None:
    job.go_on()
    job.train_to(5)
    job.go_round()
    job.kill_trainer(m("1/0"))
    job.go_on()


INCIDENTS = [
    pytest.param((3, 1), a_replaced_pod, id="a pod is replaced"),
    pytest.param((2, 2), a_whole_replica, id="a whole replica is replaced"),
    pytest.param((3, 1), a_crash, id="a trainer is killed"),
]
Incident = Callable[[ClusterSimulation], None]


def went_through(layout: tuple[int, int], incident: Incident, **faults: Callable[[int], None]) -> ClusterSimulation:
    job = ClusterSimulation(*layout)
    for when, fault in faults.items():
        setattr(job.cluster, when, fault)
    incident(job)
    return job


def assert_all_healed(job: ClusterSimulation) -> None:
    assert job.is_training
    assert job.steps == {5}
    assert [each.metadata.name for each in job.heals if each.status.concluded_at is None] == []
    verdicts = [next(c for c in heal.status.conditions if c.type == "Healed") for heal in job.heals]
    assert verdicts
    assert {(each.status, each.reason) for each in verdicts} == {("True", "Healed")}
    assert len(job.cluster.all(EVENTS)) == len(job.heals)


@pytest.mark.parametrize(("layout", "incident"), INCIDENTS)
def test_a_job_heals_with_the_api_as_its_only_memory(layout, incident):
    assert_all_healed(went_through(layout, incident))


@pytest.mark.parametrize(("layout", "incident"), INCIDENTS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_operator_that_ends_at_any_write_loses_nothing(layout, incident, when):
    undisturbed = went_through(layout, incident)

    for last in range(len(undisturbed.cluster.calls)):

        def end(number: int, last: int = last) -> None:
            if number == last:
                raise Killed

        job = went_through(layout, incident, **{when: end})
        assert_all_healed(job)
        assert [each.metadata.name for each in job.heals] == [each.metadata.name for each in undisturbed.heals]
        assert job.view.epoch.number == undisturbed.view.epoch.number
        attempts = [each.spec.assignment.attempt for each in job.heals if each.spec.assignment]
        assert len(set(attempts)) == len(attempts)


@pytest.mark.parametrize(("layout", "incident"), INCIDENTS)
@pytest.mark.parametrize("error", [Conflict("changed"), TooManyRequests("slowly", 2.0), Unreachable("no answer")])
@pytest.mark.parametrize("when", ["before", "after"])
def test_any_third_write_may_fail(layout, incident, error, when):
    def fail(number: int) -> None:
        if number % 3 == 0:
            raise error

    job = went_through(layout, incident, **{when: fail})
    assert_all_healed(job)
    assert job.errors


def test_a_short_heal_is_four_writes():
    job = went_through((3, 1), a_replaced_pod)
    about_heals = [call for call in job.cluster.calls if call[1] != "checkpointheals"]
    assert about_heals == [
        ("create", "heals"),
        ("patch", "heals"),
        ("create", "events"),
        ("patch status of", "heals"),
    ]
