"""What the API objects of one job are taken to say."""

import asyncio
import logging

import pytest

from builders_api import JOB, WHERE, a_policy, pod_object, set_pods
from builders_core import NOW, a_job, a_pod, a_report, heard, m
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.core.facts import PodFacts
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, PODS, NotThere
from checkpointheal_operator.shell.gather import Reader
from checkpointheal_operator.shell.objects import (
    REVISIONS,
    JobObjects,
    Listening,
    claims,
    known_heal,
    known_pod,
    owned,
    view_of,
)
from checkpointheal_operator.shell.slim import slim_pod
from fake_cluster import FakeCluster


def objects(*pods: Json, job: str = "") -> JobObjects:
    policy = CheckpointHeal.model_validate(a_policy() | {"status": {"job": job}})
    return JobObjects(policy, pods=tuple(map(known_pod, pods)))


def members(given: JobObjects) -> list[str]:
    return [str(pod.member) for pod in claims(given)[1]]


def of(member: str, **changes: object) -> PodFacts:
    return a_pod(m(member), **changes)


@pytest.mark.parametrize(
    "pod", [of("1/0"), of("1/0", terminating=True, ends_at=830.0), of("1/0", finished=True), of("0/3", node="n")]
)
def test_a_pod_is_read_as_it_is(pod):
    assert claims(objects(pod_object(pod))) == (JOB, (pod,))


@pytest.mark.parametrize("label", REVISIONS)
def test_a_pod_tells_the_revision_of_its_template(label):
    pod = pod_object(of("1/0"))
    pod["metadata"]["labels"][label] = "trainer-59d6"
    assert claims(objects(pod))[1][0].revision == "trainer-59d6"


@pytest.mark.parametrize(
    ("kind", "status", "holds_back"),
    [
        ("StatefulSet", {"conditions": [{"type": "Ready", "status": "True"}]}, False),
        ("StatefulSet", {"conditions": [{"type": "Ready", "status": "False"}]}, True),
        ("StatefulSet", {"conditions": [{"type": "PodScheduled", "status": "True"}]}, True),
        ("StatefulSet", {}, True),
        ("Job", {}, False),
    ],
)
def test_a_pod_of_a_statefulset_may_hold_others_back_until_it_is_ready(kind, status, holds_back):
    pod = pod_object(of("1/0")) | {"status": status}
    pod["metadata"]["ownerReferences"] = [{"kind": kind, "name": "trainer", "uid": "s", "controller": True}]
    assert claims(objects(pod))[1][0].holds_back == holds_back
    pod["metadata"]["resourceVersion"] = "1"
    assert claims(objects(slim_pod(pod)))[1][0].holds_back == holds_back


OWNER = {"kind": "Job", "name": "trainer", "uid": "j"}


@pytest.mark.parametrize(
    ("owners", "is_made"),
    [([OWNER | {"controller": True}], True), ([OWNER], False), ([], False)],
)
def test_a_pod_tells_whether_a_controller_made_it(owners, is_made):
    pod = pod_object(of("1/0"))
    pod["metadata"] |= {"ownerReferences": owners, "resourceVersion": "1"}
    for each in (pod, slim_pod(pod)):
        assert claims(objects(each))[1][0].is_made == is_made


def test_a_pod_of_a_leader_worker_set_holds_nobody_back_though_statefulsets_made_it():
    pod = pod_object(of("1/0")) | {"status": {}}
    pod["metadata"]["ownerReferences"] = [{"kind": "StatefulSet", "name": "llm", "uid": "s", "controller": True}]
    pod["metadata"]["labels"]["leaderworkerset.sigs.k8s.io/name"] = "llm"
    assert not claims(objects(pod))[1][0].holds_back


def test_a_failed_pod_claims_no_place():
    failed = pod_object(of("1/0")) | {"status": {"phase": "Failed"}}
    assert members(objects(failed, pod_object(of("0/0")))) == ["0/0"]


def test_a_pod_that_does_not_say_its_place_claims_none():
    lost = pod_object(of("1/0"))
    del lost["metadata"]["annotations"]
    assert claims(objects(lost)) == ("", ())


@pytest.mark.parametrize(("status", "was_done"), [("True", True), ("False", False), (None, False)])
def test_what_was_told_of_the_end_is_read_back(status, was_done):
    condition = {"type": "Done", "status": status, "reason": "AllDone", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    told = {"status": {"conditions": [condition] if status else []}}
    policy = CheckpointHeal.model_validate(a_policy() | told)
    assert view_of(JobObjects(policy), Listening(NOW), NOW).was_done == was_done


def test_of_two_jobs_the_older_one_is_meant_until_one_is_known():
    first, second = pod_object(of("0/0", seen_since=5.0), "b"), pod_object(of("1/0", uid="v", seen_since=9.0), "a")
    assert (claims(objects(second, first))[0], members(objects(second, first))) == ("b", ["0/0"])
    assert members(objects(second, first, job="a")) == ["1/0"]
    assert members(objects(second, first, job="long gone")) == ["0/0"]
    assert claims(objects(job="a")) == ("a", ())


def test_only_reports_of_the_jobs_own_pods_count_be_they_there_or_gone():
    there, gone = (heard(a_report(m(member), 10)) for member in ("0/0", "1/0"))
    strange = heard(a_report(m("2/0"), 10, job="another"))
    view = view_of(objects(pod_object(of("0/0"))), Listening(NOW, (there, gone, strange)), NOW)
    assert (view.heard, view.leader_since, view.job) == ((there, gone), NOW, JOB)


def test_a_heal_of_another_policy_or_one_that_cannot_be_read_is_left_out(caplog):
    policy = CheckpointHeal.model_validate(a_policy() | {"metadata": {"name": JOB, "uid": "mine"}})
    theirs, broken = (
        {"metadata": {"name": name, "ownerReferences": [{"uid": "x"}, *({"uid": uid} for _ in range(2))]}, "spec": {}}
        for name, uid in (("theirs", "other"), ("broken", "mine"))
    )
    assert list(owned(policy, [theirs, broken, {"metadata": {"name": "nobody's"}}])) == [broken]
    with caplog.at_level(logging.WARNING):
        assert known_heal(broken) is None
    assert [record.args[0] for record in caplog.records if record.args] == ["broken"]


def test_only_pods_that_opted_in_and_are_selected_are_read():
    cluster = FakeCluster()
    cluster.put(CHECKPOINTHEALS, a_policy())
    set_pods(cluster, *a_job().pods)
    for name, labels in (("not-in", {"app": JOB}), ("not-ours", {"app": "x", "checkpointheal.dev/inject": "true"})):
        body = pod_object(of("9/0", name=name, uid=name))
        cluster.put(PODS, body | {"metadata": body["metadata"] | {"labels": labels}})
    found = asyncio.run(Reader().read(cluster, WHERE, JOB))
    assert [pod.object["metadata"]["name"] for pod in found.pods] == ["pod-0-0", "pod-1-0", "pod-2-0"]


def test_without_a_policy_there_is_nothing_to_read():
    with pytest.raises(NotThere):
        asyncio.run(Reader().read(FakeCluster(), WHERE, JOB))
