"""A JobSet's pods heal each other under its default policy and under one that restarts the whole set."""

import pytest

from builders_cluster import healed_by, kubectl, until
from builders_controllers import JobSet, install

POLICIES = {"default": {}, "tolerant": {"failurePolicy": {"maxRestarts": 3}}}


@pytest.fixture(scope="module", autouse=True)
def controller():
    made = install("jobset")
    yield
    kubectl("delete", "--wait=false", "--ignore-not-found", "-f", "-", given=made)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_deleted_pod_of_a_jobset_is_healed_by_a_peer(namespace, same, policy):
    job = JobSet(namespace, extra=POLICIES[policy]).start()
    job.until_step(6)
    old = job.uid(1)
    job.delete_pods(1)
    until(lambda: job.uid(1) not in ("", old), "another pod", seen=job.look)
    healed_by(job, 1, "Peer")
    same(job)
