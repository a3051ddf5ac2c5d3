"""The operator may go at any instant: what it wrote stands, and the next one hears everyone before it decides."""

import time

import pytest

from builders_cluster import SYSTEM, Job, found, healed_by, kubectl, leader, until

OUTAGE = 60.0
SLOW = {"donors": {"bytesPerSecond": 500_000}}
"""The state of the default model crosses in about ten seconds then."""


def delete_leader() -> str:
    gone = leader()
    kubectl("delete", "pod", "-n", SYSTEM, gone, "--grace-period=0", "--force", "--wait=false")
    return gone


def healed_once(job: Job, rank: int) -> None:
    """One heal, one step for all, and nobody before where it was."""
    healed_by(job, rank, "Peer")
    (heal,) = job.heals
    epoch = job.policy_status()["epoch"]
    assert (epoch["number"], epoch["step"]) == (2, heal["status"]["step"]), job.look()
    assert epoch["step"] >= 8
    for each in range(job.replicas):
        begins = [event["step"] for event in job.events(each) if event["event"] == "start"]
        assert begins[-1] == epoch["step"], job.look()


def test_a_leader_that_goes_in_the_middle_of_a_heal_is_followed_by_one_that_ends_it(namespace, same, both_operators):
    job = Job(namespace, policy=SLOW).start()
    job.until_step(8)
    job.delete_pods(1)
    before = until(lambda: job.receiving(1), "bytes cross", seen=job.look)
    gone = delete_leader()
    healed_once(job, 1)
    assert leader() != gone
    (heal,) = job.heals
    assert heal["spec"]["assignment"] == before["spec"]["assignment"], "what was under way was called off"
    same(job)


def test_a_leader_and_a_pod_that_go_together_cost_no_more_than_the_pod(namespace, same, both_operators):
    job = Job(namespace).start()
    job.until_step(8)
    delete_leader()
    job.delete_pods(1)
    healed_once(job, 1)
    same(job)


@pytest.mark.usefixtures("both_operators")
def test_a_pod_that_restarts_while_no_operator_is_there_is_healed_once_by_the_next(namespace, same):
    job = Job(namespace).start()
    job.until_step(8)
    kubectl("scale", "-n", SYSTEM, "deploy/checkpointheal", "--replicas=0")
    component = "app.kubernetes.io/component=operator"
    until(lambda: not found("pods", SYSTEM, component), "no operator is left")
    job.delete_pods(1)
    time.sleep(OUTAGE)
    assert job.heals == []
    kubectl("scale", "-n", SYSTEM, "deploy/checkpointheal", "--replicas=2")
    healed_once(job, 1)
    same(job)
