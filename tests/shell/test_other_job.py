"""Two jobs whose pods one policy selects: it looks after one, and the other one's agents and people are told why."""

import asyncio

import pytest

from builders_api import JOB, WHERE, a_policy, pod_object
from builders_core import NOW, a_pod, a_report, heard, m
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, PODS, Ref
from checkpointheal_operator.shell.look import Looked, Surroundings, look
from checkpointheal_operator.shell.objects import Listening
from checkpointheal_operator.shell.switchboard import orders_of
from fake_cluster import FakeCluster

MEMBERS = ("0/0", "1/0")
SECOND = {"second-0/0", "second-1/0"}


def put_pods(cluster: FakeCluster, job: str, made: float) -> None:
    for each in MEMBERS:
        pod = a_pod(m(each), name=f"{job}-{each[0]}", uid=f"{job}-{each}", seen_since=made)
        cluster.put(PODS, pod_object(pod, job=job))


def change(cluster: FakeCluster, job: str, to: object) -> None:
    """Each pod of the job becomes what `to` makes of it; None: it is gone."""
    for each in MEMBERS:
        ref = Ref(PODS, WHERE, f"{job}-{each[0]}")
        if to is None:
            del cluster.objects[ref]
        else:
            cluster.objects[ref] |= to(cluster.objects[ref])


def two_jobs() -> FakeCluster:
    cluster = FakeCluster()
    cluster.put(CHECKPOINTHEALS, a_policy(layout={"replicas": 2}))
    put_pods(cluster, "first", NOW - 100)
    put_pods(cluster, "second", NOW - 90)
    return cluster


def looked(cluster: FakeCluster, now: float = NOW) -> Looked:
    said = [a_report(m(each), 10, pod_uid=f"{job}-{each}", job=job) for job in ("first", "second") for each in MEMBERS]
    listening = Listening(0.0, tuple(heard(each) for each in said))
    return asyncio.run(look(Surroundings(cluster, lambda: now), (WHERE, JOB), listening))


def told(cluster: FakeCluster) -> dict[str, tuple[str, str]]:
    (policy,) = cluster.all(CHECKPOINTHEALS)
    return {each["type"]: (each["reason"], each["message"]) for each in policy["status"]["conditions"]}


def test_the_second_jobs_agents_and_the_policy_say_whose_it_is_and_what_helps():
    cluster = two_jobs()
    found = looked(cluster)
    assert found.view.job == "first"
    standing = orders_of(found)
    assert {uid: each.reason for uid, each in standing.items() if each.withdrawn} == dict.fromkeys(SECOND, "OtherJob")
    assert standing["second-0/0"].message == (
        "pod second-0 is of job second, and the CheckpointHeal that selects it looks after job first alone: give each "
        "job a CheckpointHeal whose selector takes only its own pods"
    )
    assert "pod second-0 is of job second" in told(cluster)["Degraded"][1]


def leaves(pod: Json) -> Json:
    return {"metadata": pod["metadata"] | {"deletionTimestamp": "1970-01-01T00:16:00Z"}}


def ends(pod: Json) -> Json:
    return {"status": pod["status"] | {"phase": "Succeeded"}}


@pytest.mark.parametrize("how", [leaves, ends])
def test_of_pods_of_another_job_that_only_lie_there_nothing_is_said(how):
    cluster = two_jobs()
    change(cluster, "second", how)
    assert looked(cluster).view.strangers == ()


def test_while_the_job_before_is_on_its_way_out_the_next_one_is_no_stranger():
    cluster = two_jobs()
    change(cluster, "first", leaves)
    assert looked(cluster).view.strangers == ()


def test_a_job_that_stands_back_as_another_policys_calls_nobody_a_stranger():
    cluster = two_jobs()
    elder = a_policy() | {"metadata": {"name": "elder", "namespace": WHERE}}
    cluster.created = "1969-01-01T00:00:00Z"
    cluster.put(CHECKPOINTHEALS, elder)
    assert orders_of(looked(cluster)) == {}


def test_strangers_of_a_job_that_is_set_aside_hear_that_they_are():
    cluster = two_jobs()
    cluster.objects[Ref(CHECKPOINTHEALS, WHERE, JOB)]["spec"]["layout"]["ranks"] = 2
    change(
        cluster,
        "first",
        lambda pod: {
            "metadata": pod["metadata"]
            | {"annotations": pod["metadata"]["annotations"] | {"checkpointheal.dev/rank": "5"}}
        },
    )
    standing = orders_of(looked(cluster))
    assert {uid: each.reason for uid, each in standing.items()} == {
        "first-0/0": "LayoutDiffers",
        "first-1/0": "LayoutDiffers",
    } | dict.fromkeys(SECOND, "OtherJob")


def test_a_suspended_job_loses_its_policy_to_the_other_one_and_is_told_so_when_it_resumes():
    """Its memory went with its pods: who trains is looked after."""
    cluster = two_jobs()
    looked(cluster)
    change(cluster, "first", None)
    assert Reason.NEW_RUN not in [each.reason for each in looked(cluster).decisions], "there was no epoch yet"
    put_pods(cluster, "first", NOW - 1)
    found = looked(cluster)
    assert found.view.job == "second"
    assert {uid for uid, each in orders_of(found).items() if each.reason == "OtherJob"} == {"first-0/0", "first-1/0"}
