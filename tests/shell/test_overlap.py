"""Of two policies that select one pod the older keeps it, and the younger one does nothing but say so."""

import asyncio
from itertools import permutations

import pytest

from builders_api import JOB, WHERE, a_policy, set_pods
from builders_core import NOW, a_job
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core.orders import orders
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, HEALS
from checkpointheal_operator.shell.look import Looked, Surroundings, look
from checkpointheal_operator.shell.objects import Listening
from checkpointheal_operator.shell.overlap import Overlap, overlap
from checkpointheal_operator.shell.switchboard import orders_of
from fake_cluster import FakeCluster


def named(name: str, created: int, **labels: str) -> Json:
    metadata = {"name": name, "namespace": WHERE, "creationTimestamp": f"1970-01-01T00:00:{created:02d}Z"}
    return a_policy(selector={"matchLabels": labels or {"app": JOB}}) | {"metadata": metadata}


def pod(name: str, **labels: str) -> Json:
    return {"metadata": {"name": name, "labels": labels}}


OURS = named("ours", 5)
PODS = (pod("a", app=JOB, part="left"), pod("b", app=JOB, part="right"))


@pytest.mark.parametrize(
    ("others", "found"),
    [
        pytest.param([], None, id="alone"),
        pytest.param([named("elder", 4)], Overlap("elder", "a"), id="an older one with the same selector"),
        pytest.param([named("elder", 4, part="right")], Overlap("elder", "b"), id="an older one that takes some"),
        pytest.param([named("elder", 4, part="none")], None, id="an older one that takes none"),
        pytest.param([named("elder", 4, app="another")], None, id="an older one of another application"),
        pytest.param([named("younger", 6)], None, id="a younger one"),
        pytest.param([named("a", 5)], Overlap("a", "a"), id="of the same second, first by name"),
        pytest.param([named("z", 5)], None, id="of the same second, last by name"),
        pytest.param([named("second", 2), named("first", 1)], Overlap("first", "a"), id="the oldest is named"),
        pytest.param([named("elder", 4) | {"spec": {}}], None, id="one that cannot be read selects nothing"),
    ],
)
def test_the_older_policy_keeps_the_pod(others, found):
    for order in permutations([OURS, *others]):
        assert overlap(OURS, PODS, order) == found


def test_of_any_two_that_share_a_pod_exactly_one_stands_back():
    policies = [named("a", 3), named("b", 3), named("c", 1)]
    for first, second in permutations(policies, 2):
        backs = [overlap(each, PODS, [first, second]) is not None for each in (first, second)]
        assert sorted(backs) == [False, True]


def a_contested_job() -> FakeCluster:
    cluster = FakeCluster()
    set_pods(cluster, *a_job().pods)
    cluster.created = "1970-01-01T00:00:01Z"
    cluster.put(CHECKPOINTHEALS, a_policy() | {"metadata": {"name": "elder", "namespace": WHERE}})
    cluster.created = "1970-01-01T00:00:02Z"
    cluster.put(CHECKPOINTHEALS, a_policy())
    return cluster


def looked(cluster: FakeCluster, name: str) -> Looked:
    listening = Listening(0.0, a_job().heard)
    return asyncio.run(look(Surroundings(cluster, lambda: NOW), (WHERE, name), listening))


def conditions(cluster: FakeCluster, name: str) -> dict[str, str]:
    (policy,) = (each for each in cluster.all(CHECKPOINTHEALS) if each["metadata"]["name"] == name)
    return {each["type"]: each["status"] for each in policy["status"]["conditions"]}


def test_the_younger_one_says_so_once_and_orders_nobody_anything():
    cluster = a_contested_job()
    for _ in range(2):
        found = looked(cluster, JOB)
        assert [each.reason for each in found.decisions] == [Reason.CONFLICTING]
        assert orders_of(found) == {}
    assert conditions(cluster, JOB) == {"Conflicting": "True"}
    assert cluster.calls == [("patch status of", "checkpointheals")]
    assert cluster.all(HEALS) == []
    looked(cluster, "elder")
    assert "Conflicting" not in conditions(cluster, "elder")


def test_once_they_are_apart_it_works_as_if_it_had_always_been_alone():
    cluster = a_contested_job()
    looked(cluster, JOB)
    metadata = {"name": "elder", "namespace": WHERE}
    cluster.put(CHECKPOINTHEALS, a_policy(selector={"matchLabels": {"app": "other"}}) | {"metadata": metadata})
    found = looked(cluster, JOB)
    assert {each.member for each in found.view.pods} == set(orders(found.view))
    assert set(conditions(cluster, JOB)) == {"Training", "Protected", "Degraded", "Done"}


def test_what_a_policy_remembers_stands_while_it_stands_back():
    cluster = a_contested_job()
    (young,) = (each for each in cluster.all(CHECKPOINTHEALS) if each["metadata"]["name"] == JOB)
    young["status"] = {"job": JOB, "epoch": {"number": 7}}
    looked(cluster, JOB)
    (young,) = (each for each in cluster.all(CHECKPOINTHEALS) if each["metadata"]["name"] == JOB)
    assert (young["status"]["job"], young["status"]["epoch"]["number"]) == (JOB, 7)
