"""What is read of objects: once while they are the same, anew when they are others, whatever they are equal to."""

import asyncio
import itertools

import pytest

from builders_api import JOB, WHERE, a_policy, pod_object
from builders_core import a_pod, m
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core.identity import JOB as JOB_MARK
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, HEALS, PODS
from checkpointheal_operator.shell.gather import Reader
from checkpointheal_operator.shell.mirror import Mirror
from checkpointheal_operator.shell.mirrored import Mirrored
from checkpointheal_operator.shell.readings import Readings
from checkpointheal_operator.shell.slim import slim_pod
from fake_cluster import FakeCluster


def reading() -> tuple[Readings[str], list[str]]:
    """Of names; and all that were read."""
    read: list[str] = []

    def name(found: Json) -> str:
        read.append(found["name"])
        return str(found["name"])

    return Readings(name), read


def test_of_every_run_of_lists_each_object_is_read_when_it_comes_and_not_again_while_it_stays() -> None:
    objects = [{"name": "a"}, {"name": "b"}, {"name": "c"}]
    lists = [each for size in range(4) for each in itertools.permutations(objects, size)]
    for run in itertools.product(lists[::3], repeat=3):
        readings, read = reading()
        before: list[str] = []
        for found in run:
            read.clear()
            names = [each["name"] for each in found]
            assert list(readings.of(found)) == names
            assert read == [each for each in names if each not in before]
            before = names


def test_an_equal_object_is_another_one() -> None:
    readings, read = reading()
    for _ in range(3):
        assert list(readings.of([{"name": "a"}])) == ["a"]
    assert read == ["a"] * 3


def test_what_cannot_be_read_is_tried_again() -> None:
    def refuse(_found: Json) -> str:
        raise ValueError("no")

    readings, found = Readings(refuse), [{"name": "a"}]
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            list(readings.of(found))


def mirrored() -> tuple[Mirrored, dict[object, Mirror]]:
    """A job of two pods."""
    mirrors = {
        kind: Mirror(lambda _before, _now: None, slim_pod if kind == PODS else lambda each: each)
        for kind in (CHECKPOINTHEALS, HEALS, PODS)
    }
    mirrors[CHECKPOINTHEALS].put(versioned(a_policy(), 1))
    for number in range(2):
        mirrors[PODS].put(versioned(pod_object(a_pod(m(f"{number}/0"))), 1))
    return Mirrored(FakeCluster(), mirrors), mirrors


def versioned(found: Json, version: int) -> Json:
    metadata = {"uid": found["metadata"]["name"], **found["metadata"], "resourceVersion": str(version)}
    return found | {"metadata": metadata}


def test_a_job_that_is_looked_at_again_is_seen_as_it_is_whatever_of_it_has_changed() -> None:
    async def play() -> None:
        cluster, mirrors = mirrored()
        reader = Reader()
        first = await reader.read(cluster, WHERE, JOB)
        again = await reader.read(cluster, WHERE, JOB)
        assert (again.policy is first.policy, again.pods) == (True, first.pods)
        assert [one is other for one, other in zip(again.pods, first.pods, strict=True)] == [True, True]
        for version, number in ((2, 0), (3, 1), (4, 0)):
            moved = pod_object(a_pod(m(f"{number}/0"), node=f"node-{version}"))
            moved["metadata"]["annotations"][JOB_MARK] = f"job-{version}"
            mirrors[PODS].put(versioned(moved, version))
            mirrors[CHECKPOINTHEALS].put(versioned(a_policy(donors={"limit": version}), version))
            seen = await reader.read(cluster, WHERE, JOB)
            assert seen == await Reader().read(cluster, WHERE, JOB)
            assert seen.policy.spec.donors.limit == version
            (pod,) = (each for each in seen.pods if each.object["metadata"]["name"] == moved["metadata"]["name"])
            (facts,) = pod.facts
            assert (facts.node, pod.marks[JOB_MARK]) == (f"node-{version}", f"job-{version}")
        mirrors[PODS].drop(moved["metadata"]["uid"])
        assert await reader.read(cluster, WHERE, JOB) == await Reader().read(cluster, WHERE, JOB)

    asyncio.run(play())
