"""Where no memory is left, every member is told so at once, and takes the same rung."""

import logging
from datetime import datetime

from builders_cluster import Job, condition, kubectl, until
from builders_jobs import warnings

log = logging.getLogger(__name__)
DECIDED_WITHIN = 2.0


def seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def test_with_no_donor_left_the_fallback_is_named_and_all_members_take_the_same_rung(namespace, same):
    job = Job(namespace).start()
    job.until_step(8)
    first = job.policy_status()["epoch"]["number"]
    job.delete_pods(0, 1, 2)
    until(lambda: len([each for each in job.verdicts() if each[1]]) == 3, "three verdicts", seen=job.look)
    assert job.verdicts() == [(job.pod_of(rank), "Checkpoint", "False") for rank in range(3)]
    epoch = job.policy_status()["epoch"]
    assert (epoch["rung"], epoch["beginReason"]) == ("Checkpoint", "NoSurvivingArena")
    assert epoch["number"] > first
    assert {each["member"]: each["rung"] for each in epoch["members"]} == {
        f"{rank}/0": "Checkpoint" for rank in range(3)
    }
    heals = job.heals
    assert {condition(each, "Healed")["reason"] for each in heals} == {"FellBack"}
    last_report = max(seconds(each["spec"]["openedAt"]) for each in heals)
    assert seconds(epoch["beganAt"]) - last_report < DECIDED_WITHIN
    waits = [each["at"] for rank in range(3) for each in job.events(rank) if each["event"] == "waits"]
    log.info("decided %.2f s after the last trainer asked", seconds(epoch["beganAt"]) - max(waits))
    same(job)


def test_a_job_that_is_held_waits_until_its_policy_lets_it_go_back(namespace, same):
    job = Job(namespace, policy={"fallback": "Hold"}).start()
    job.until_step(8)
    epoch = job.policy_status()["epoch"]["number"]
    job.delete_pods(0, 1, 2)
    until(lambda: job.condition("Degraded")["reason"] == "Held", "it is held", seen=job.look)
    assert "set spec.fallback to Checkpoint" in job.condition("Degraded")["message"]
    until(lambda: len(warnings(namespace, "Held")) == 3, "every pod is told", seen=job.look)
    assert job.policy_status()["epoch"]["number"] == epoch
    kubectl(
        "patch", "checkpointheal", job.name, "-n", namespace, "--type=merge", "-p", '{"spec":{"fallback":"Checkpoint"}}'
    )
    until(lambda: len([each for each in job.verdicts() if each[1]]) == 3, "three verdicts", seen=job.look)
    assert {rung for _, rung, _ in job.verdicts()} == {"Checkpoint"}
    same(job)
