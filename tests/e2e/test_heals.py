"""Whatever ends a trainer or a pod, the job goes on from memory and ends with the same bits."""

import pytest

from builders_cluster import Job, condition, found, healed_by

pytestmark = pytest.mark.core


def test_a_killed_trainer_goes_on_from_its_own_memory(namespace, same):
    job = Job(namespace).start()
    job.until_step(8)
    before = [job.uid(rank) for rank in range(3)]
    job.kill_between_steps(1)
    healed_by(job, 1, "OwnMemory")
    same(job)
    assert [job.uid(rank) for rank in range(3)] == before


def test_a_deleted_pod_is_healed_by_a_peer(namespace, same):
    job = Job(namespace).start()
    job.until_step(8)
    job.delete_pods(1)
    healed_by(job, 1, "Peer")
    same(job)
    (heal,) = [each for each in job.heals if each["spec"]["recipient"]["pod"] == "trainer-1"]
    assert heal["spec"]["cause"] == "Replaced"
    assert {condition(heal, kind)["status"] for kind in ("DonorAssigned", "Transferred", "Verified", "Healed")} == {
        "True"
    }
    assert heal["spec"]["assignment"]["step"] >= 8
    told = [each for each in found("events", namespace) if each["involvedObject"]["name"] == "trainer-1"]
    assert "Healed" in {each["reason"] for each in told}


def test_two_pods_at_once_are_healed_by_the_third(namespace, same):
    job = Job(namespace).start()
    job.until_step(8)
    job.delete_pods(0, 2)
    healed_by(job, 0, "Peer")
    healed_by(job, 2, "Peer")
    same(job)
