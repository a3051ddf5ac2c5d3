"""Under one CheckpointHeal that stays, run after run: each begins by itself, and inherits nothing of the one before."""

import asyncio
from collections.abc import Callable

import pytest

from builders_api import JOB, WHERE, a_policy, pod_object
from builders_core import a_pod, m
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, EVENTS, HEALS, Ref
from checkpointheal_operator.shell.objects import JobObjects, claims, known_pod
from cluster_simulation import ClusterSimulation

POLICY, HOUR = Ref(CHECKPOINTHEALS, WHERE, JOB), 3600.0


def status(job: ClusterSimulation) -> Json:
    found: Json = job.cluster.objects[POLICY]["status"]
    return found


def reasons(job: ClusterSimulation) -> dict[str, str]:
    return {each["type"]: each["reason"] for each in status(job)["conditions"]}


def nothing(_job: ClusterSimulation) -> None:
    """Between a run and the end of its pods."""


def a_slip_in_its_layout(job: ClusterSimulation) -> None:
    before = job.cluster.objects[POLICY]["spec"]["layout"]
    job.cluster.objects[POLICY]["spec"]["layout"] = {"ranks": 1}
    job.look()
    assert reasons(job)["Protected"] == "LayoutDiffers"
    job.cluster.objects[POLICY]["spec"]["layout"] = before


def an_elder_that_takes_its_pods(job: ClusterSimulation) -> None:
    elder = Ref(CHECKPOINTHEALS, WHERE, "an-elder")
    job.cluster.put(CHECKPOINTHEALS, a_policy() | {"metadata": {"name": elder.name, "namespace": WHERE}})
    job.look()
    assert reasons(job)["Conflicting"] == "Conflicting"
    del job.cluster.objects[elder]


def after_a_run(
    fallback: str, *, done: bool, ranks: int = 1, meanwhile: Callable[[ClusterSimulation], None] = nothing
) -> ClusterSimulation:
    """Of two replicas, whose pods are gone since an hour."""
    job = ClusterSimulation(2, ranks, fallback=fallback)
    job.go_on()
    job.train_to(5)
    job.go_round()
    if done:
        for member in job.policy.members():
            job.finish(member)
        job.go_on()
    meanwhile(job)
    pods, job.pods = job.pods, {}
    job.now += HOUR
    job.look()
    job.pods = pods
    return job


@pytest.mark.parametrize("fallback", ["Checkpoint", "Hold"])
@pytest.mark.parametrize("leader", ["the same", "another"])
@pytest.mark.parametrize(("name", "done"), [("demo", True), ("other", True), ("other", False)])
def test_the_next_run_starts_for_the_first_time(fallback: str, leader: str, name: str, done: bool) -> None:
    job = after_a_run(fallback, done=done)
    if leader == "another":
        job.restart_operator()
    job.job = name
    job.begin_again()
    job.go_on()
    assert job.is_training
    assert status(job)["job"] == name
    epoch = status(job)["epoch"]
    assert (epoch["reason"], epoch["rung"], epoch.get("highest")) == ("FirstStart", "Fresh", None)
    assert reasons(job) == {"Training": "FirstStart", "Protected": "AllWell", "Degraded": "AllWell", "Done": "NotYet"}
    assert (job.cluster.all(EVENTS), job.heals) == ([], [])


@pytest.mark.parametrize("fallback", ["Checkpoint", "Hold"])
@pytest.mark.parametrize("meanwhile", [a_slip_in_its_layout, an_elder_that_takes_its_pods])
def test_a_run_that_was_done_is_not_forgotten_while_its_job_is_left_alone(
    fallback: str, meanwhile: Callable[[ClusterSimulation], None]
) -> None:
    job = after_a_run(fallback, done=True, ranks=2, meanwhile=meanwhile)
    job.restart_operator()
    job.begin_again()
    job.go_on()
    assert job.is_training
    assert (status(job)["epoch"]["reason"], status(job)["epoch"]["rung"]) == ("FirstStart", "Fresh")


def test_a_run_of_the_same_name_that_begins_in_mid_run_is_held_and_what_it_names_helps() -> None:
    job = after_a_run("Hold", done=False)
    job.begin_again()
    job.go_on()
    assert reasons(job)["Degraded"] == "Held"
    held = next(each["message"] for each in status(job)["conditions"] if each["type"] == "Degraded")
    assert "make the job and its CheckpointHeal anew, both" in held
    (policy,) = job.cluster.all(CHECKPOINTHEALS)
    asyncio.run(job.cluster.delete(Ref(CHECKPOINTHEALS, WHERE, JOB), policy["metadata"]["uid"]))
    for heal in job.cluster.all(HEALS):
        asyncio.run(job.cluster.delete(Ref(HEALS, WHERE, heal["metadata"]["name"]), heal["metadata"]["uid"]))
    job.now += HOUR
    made = a_policy(layout={"replicas": 2, "ranks": 1}, fallback="Hold")
    job.cluster.put(CHECKPOINTHEALS, made)
    job.begin_again()
    job.go_on()
    assert job.is_training
    assert reasons(job)["Training"] == "FirstStart"


def a_policy_of(job: str, *, done: bool) -> CheckpointHeal:
    told = {
        "type": "Done",
        "status": "True" if done else "False",
        "reason": "AllDone",
        "message": "",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    }
    return CheckpointHeal.model_validate(a_policy() | {"status": {"job": job, "conditions": [told]}})


@pytest.mark.parametrize("left", [{"finished": True}, {"terminating": True}])
@pytest.mark.parametrize(("done", "taken"), [(True, "second"), (False, "first")])
def test_pods_that_a_job_that_is_done_has_left_keep_the_next_one_out_no_longer(
    left: dict[str, bool], done: bool, taken: str
) -> None:
    old = pod_object(a_pod(m("0/0"), uid="old", **left), job="first")
    new = pod_object(a_pod(m("0/0"), uid="new", seen_since=900.0), job="second")
    pods = tuple(map(known_pod, (old, new)))
    assert claims(JobObjects(a_policy_of("first", done=done), pods=pods))[0] == taken
    assert claims(JobObjects(a_policy_of("first", done=done), pods=pods[:1]))[0] == "first"
