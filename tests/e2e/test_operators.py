"""The operator may go at any instant: what it wrote stands, and the next one hears everyone before it decides."""

import time

import pytest

from builders_cluster import LARGE, SYSTEM, Job, found, healed_by, kubectl, leader, until

OUTAGE = 60.0


def delete_leader() -> str:
    gone = leader()
    kubectl("delete", "pod", "-n", SYSTEM, gone, "--grace-period=0", "--force", "--wait=false")
    return gone


def healed_once(job: Job, at_least: int = 8) -> None:
    """One heal, one new epoch, one step for all, and no step twice."""
    heals = job.heals
    assert len(heals) == 1, job.look()
    (heal,), epoch = heals, job.policy_status()["epoch"]
    assert (epoch["number"], epoch["step"]) == (2, heal["status"]["step"]), job.look()
    assert epoch["step"] >= at_least
    for each in range(job.replicas):
        begins = [event["step"] for event in job.events(each) if event["event"] == "start"]
        assert begins[-1] == epoch["step"], job.look()


@pytest.mark.core
def test_a_leader_that_goes_in_the_middle_of_a_heal_is_followed_by_one_that_ends_it(namespace, same, both_operators):
    job = Job(namespace, **LARGE).start()
    job.until_step(8)
    job.delete_pods(1)
    before = until(lambda: job.receiving(1), "bytes cross", seen=job.look)
    gone = delete_leader()
    healed_by(job, 1, "Peer")
    assert leader() != gone
    (heal,) = job.heals
    assert heal["spec"]["assignment"] == before["spec"]["assignment"], "what was under way was called off"
    same(job)
    healed_once(job)


@pytest.mark.core
def test_a_leader_and_a_pod_that_go_together_cost_no_more_than_the_pod(namespace, same, both_operators):
    job = Job(namespace).start()
    job.until_step(8)
    delete_leader()
    job.delete_pods(1)
    healed_by(job, 1, "Peer")
    same(job)
    healed_once(job)


@pytest.mark.core
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
    healed_by(job, 1, "Peer")
    same(job)
    healed_once(job)
