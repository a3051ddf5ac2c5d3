"""A Job ends when its trainers do, agents or not, and ends with the same bits whatever happened to its pods."""

from builders_cluster import condition, until
from builders_indexed import IndexedJob


def phases(job: IndexedJob) -> list[str]:
    return [pod["status"]["phase"] for rank in range(job.replicas) for pod in job.pods_of(rank)]


def test_an_indexed_job_whose_pod_was_deleted_is_healed_and_completes(namespace, same):
    job = IndexedJob(namespace).start()
    job.until_step(8)
    before = job.pod_of(1)
    job.delete_pods(1)
    same(job)
    (healed,) = job.heals
    recipient = healed["spec"]["recipient"]
    assert (recipient["pod"], recipient["member"]) == (job.pod_of(1), "1/0")
    assert recipient["pod"] != before
    assert (healed["spec"]["cause"], healed["status"]["rung"]) == ("Replaced", "Peer")
    assert condition(healed, "Healed")["status"] == "True"
    assert phases(job) == ["Succeeded"] * 3
    until(lambda: job.condition("Done")["status"] == "True", "the policy says Done", seen=job.look)
    assert job.condition("Training")["reason"] == "AllDone"


def test_completed_pods_that_are_deleted_leave_their_job_complete_and_wake_nobody(namespace):
    job = IndexedJob(namespace, steps=4).start()
    job.until_complete()
    until(lambda: job.condition("Done")["status"] == "True", "the policy says Done", seen=job.look)
    job.delete_pods(0, 1, 2)
    until(lambda: phases(job) == [], "no pod is left", seen=job.look)
    assert job.conditions["Complete"] == "True"
    assert job.heals == []
    assert job.condition("Done")["status"] == "True"
