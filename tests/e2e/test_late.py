"""A pod that was made without an agent gets one where all that an agent needs was made with it; else it is told."""

from collections.abc import Iterator

import pytest

from builders_cluster import Job, healed_by, until
from builders_jobs import warnings
from builders_late import AGENT, PreparedJob, late_ones, unseen
from builders_release import upgrade
from builders_tokens import operators_log


@pytest.fixture(scope="module", autouse=True)
def late_agents() -> Iterator[None]:
    """The chart's switch, on."""
    upgrade("operator.lateAgents=true")
    yield
    upgrade("operator.lateAgents=false")


def test_pods_that_have_all_but_an_agent_get_one_while_they_run_and_heal(namespace, same):
    job = PreparedJob(namespace)
    with unseen(job, 0, 1, 2):
        job.start()
    job.until_step(8)
    assert [late_ones(job, rank) for rank in range(3)] == [[AGENT]] * 3
    job.kill_between_steps(2)
    healed_by(job, 2, "OwnMemory")
    with unseen(job, 1):
        job.delete_pods(1)
    healed_by(job, 1, "Peer")
    assert late_ones(job, 1) == [AGENT]
    same(job)


def test_pods_that_lack_what_an_agent_needs_are_told_and_left_alone(namespace, same):
    job = Job(namespace)
    with unseen(job, 0, 1, 2):
        job.start()
    until(lambda: len(warnings(namespace, "NotInjected")) == 3, "every pod is told", seen=job.look)
    assert job.condition("Protected")["reason"] == "NotInjected"

    def named() -> bool:
        said = [each for each in operators_log() if "TooLate" in each["message"] and each["namespace"] == namespace]
        return {each["pod"] for each in said} == {job.pod_of(rank) for rank in range(3)}

    until(named, "the log names what each lacks", seen=lambda: operators_log()[-5:])
    assert [late_ones(job, rank) for rank in range(3)] == [[]] * 3
    same(job)
