"""The whole way over the API: read, decide, write, until the job trains again, wherever the operator's process ends."""

import asyncio
from collections.abc import Callable

import pytest

from builders_api import JOB, WHERE, a_policy, set_pods
from builders_core import m
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.core import decisions as core
from checkpointheal_operator.core.decisions import Nothing, Wait
from checkpointheal_operator.core.hearing import remember
from checkpointheal_operator.core.orders import orders
from checkpointheal_operator.shell.cluster import (
    CHECKPOINTHEALS,
    EVENTS,
    HEALS,
    ClusterError,
    Conflict,
    TooManyRequests,
    Unreachable,
)
from checkpointheal_operator.shell.look import Surroundings, look
from checkpointheal_operator.shell.objects import Listening
from fake_cluster import FakeCluster, Killed
from simulation import Simulation

LOOKS_AT_ONCE = 20


class ClusterSimulation(Simulation):
    """The same job, but the operator's memory is the API. Each failed look is followed by another."""

    def __init__(self, replicas: int = 3, ranks: int = 1, **spec: object) -> None:
        super().__init__(replicas, ranks)
        self.cluster = FakeCluster()
        self.cluster.put(CHECKPOINTHEALS, a_policy(layout={"replicas": replicas, "ranks": ranks}, **spec))
        self.leader_since = self.now
        self.errors: list[ClusterError] = []

    def look(self) -> list[core.Decision]:
        set_pods(self.cluster, *(pod.facts for pod in self.pods.values()))
        made: list[core.Decision] = []
        for _ in range(LOOKS_AT_ONCE):
            try:
                looked = asyncio.run(self._look())
            except Killed:
                self.restart_operator()
                return made
            except ClusterError as error:
                self.errors.append(error)
                continue
            self.view = looked.view
            self.heard = {each.report.pod_uid: each for each in remember(looked.view, self.now).heard}
            made += looked.decisions
            if isinstance(made[-1], Nothing | Wait):
                break
        standing = orders(self.view)
        self.ordered = {pod.uid: standing[member] for member, pod in self.pods.items()}
        self.decisions += made
        return made

    async def _look(self):
        around = Surroundings(self.cluster, lambda: self.now)
        return await look(around, WHERE, JOB, Listening(self.leader_since, tuple(self.heard.values())))

    def restart_operator(self, *, with_records: bool = True) -> None:
        super().restart_operator(with_records=with_records)
        self.leader_since = self.now

    @property
    def heals(self) -> list[Heal]:
        return [Heal.model_validate(each) for each in self.cluster.all(HEALS)]


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
