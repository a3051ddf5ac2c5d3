"""A node that is lost takes its pods' memory with it, and training goes on elsewhere."""

import contextlib
import json

import pytest

from builders_cluster import SYSTEM, Job, Refused, healed_by, kubectl, until
from builders_jobs import IndexedJob, apart, node_of, shut_down, switch_on


@pytest.fixture
def lose():
    """Shuts a node down, and switches it on again when all is over."""
    lost = []

    def shut(node: str) -> None:
        lost.append(node)
        shut_down(node)

    yield shut
    for node in lost:
        switch_on(node)
    until(all_available, "operator and webhook are back")


def all_available() -> bool:
    with contextlib.suppress(Refused):
        kubectl("wait", "-n", SYSTEM, "deploy", "--all", "--for=condition=Available", "--timeout=5s")
        return True
    return False


def nodes_of_plain_pods() -> set[str]:
    """Nobody would make them anew, and another test may still want them."""
    pods = json.loads(kubectl("get", "pods", "-A", "-o", "json"))["items"]
    return {each["spec"].get("nodeName", "") for each in pods if not each["metadata"].get("ownerReferences")}


def test_pods_of_a_node_that_was_shut_down_are_healed_on_the_other(namespace, lose, same):
    slowly, two = {"PACE": "1"}, {"replicas": 2, "steps": 30}
    jobs = [
        Job(namespace, "sts", environment=slowly, pod=apart("sts"), **two).start(),
        IndexedJob(namespace, "indexed", environment=slowly, pod=apart("indexed"), **two).start(),
    ]
    for job in jobs:
        job.until_step(5)
    node = next(node for rank in range(2) if (node := node_of(jobs[0], rank)) not in nodes_of_plain_pods())
    ranks = [next(rank for rank in range(2) if node_of(job, rank) == node) for job in jobs]
    before = [job.uid(rank) for job, rank in zip(jobs, ranks, strict=True)]
    lose(node)
    for job, rank, old in zip(jobs, ranks, before, strict=True):
        until(lambda job=job, rank=rank, old=old: job.uid(rank) not in ("", old), "another pod", seen=job.look)
        assert node_of(job, rank) != node
        healed_by(job, rank, "Peer")
    for job in jobs:
        same(job)
