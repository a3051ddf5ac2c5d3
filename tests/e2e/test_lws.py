"""A LeaderWorkerSet's groups heal each other: the whole group under its default policy, one pod where it tolerates."""

import pytest

from builders_cluster import healed_by, kubectl, until
from builders_controllers import LeaderWorkerSet, install

POLICIES = {"default": ({}, (0, 1)), "tolerant": ({"restartPolicy": "None"}, (1,))}
"""What the group's template says, and which ranks a deleted worker takes with it."""


@pytest.fixture(scope="module", autouse=True)
def controller():
    made = install("lws")
    yield
    kubectl("delete", "--wait=false", "--ignore-not-found", "-f", "-", given=made)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_deleted_worker_is_healed_with_all_that_it_took_along(namespace, same, policy):
    extra, lost = POLICIES[policy]
    job = LeaderWorkerSet(namespace, replicas=4, extra=extra).start()
    job.until_step(6)
    old = {rank: job.uid(rank) for rank in lost}
    job.delete_pods(1)
    for rank in lost:
        until(lambda rank=rank: job.uid(rank) not in ("", old[rank]), "another pod", seen=job.look)
        healed_by(job, rank, "Peer")
    same(job)
