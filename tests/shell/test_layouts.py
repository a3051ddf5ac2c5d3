"""Whoever says which place a pod holds says the same, or nobody is healed and both are named."""

import asyncio
import itertools

import pytest

from builders_api import JOB, WHERE, a_policy, pod_object
from builders_core import NOW, a_pod, a_report, heard, m
from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.core.facts import Heard
from checkpointheal_operator.core.identity import RANK, RANKS, REPLICA, Placed, place
from checkpointheal_operator.core.pod_manifest import Metadata
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, HEALS, PODS, Ref, Refused
from checkpointheal_operator.shell.layouts import Difference, difference
from checkpointheal_operator.shell.look import Looked, Surroundings, look
from checkpointheal_operator.shell.objects import JobObjects, Listening, claims, known_pod, view_of
from checkpointheal_operator.shell.switchboard import orders_of
from fake_cluster import FakeCluster

SIZES = (1, 2, 3, 4)


def a_set_pod(index: int, ranks: int | None = None, **metadata: object) -> Json:
    """Of a StatefulSet whose template has that annotation."""
    body = pod_object(a_pod(m(f"{index}/0"), name=f"trainer-{index}", uid=f"u{index}"))
    body["metadata"]["labels"] |= {"apps.kubernetes.io/pod-index": str(index)}
    body["metadata"]["annotations"] = {"checkpointheal.dev/job": JOB} | ({RANKS: str(ranks)} if ranks else {})
    body["metadata"] |= metadata
    return body


def an_annotated_pod(member: str) -> Json:
    return pod_object(a_pod(m(member)))


def objects(pods: list[Json], ranks: int | None) -> JobObjects:
    layout = {} if ranks is None else {"layout": {"ranks": ranks}}
    return JobObjects(CheckpointHeal.model_validate(a_policy(**layout)), pods=tuple(map(known_pod, pods)))


def found(pods: list[Json], ranks: int | None, *reports: Heard) -> Difference | None:
    return difference(objects(pods, ranks), reports)


def speaks(pod: Json, member: str) -> Heard:
    return heard(a_report(m(member), 10, pod_uid=pod["metadata"]["uid"]))


@pytest.mark.parametrize("said", [None, *SIZES])
@pytest.mark.parametrize("made", [None, *SIZES])
def test_a_policys_ranks_are_those_of_the_pods_or_both_are_named(said: int | None, made: int | None) -> None:
    pods = [a_set_pod(index, made) for index in range(4)]
    told, own = found(pods, said), made or 1
    assert (told is None) == (said in (None, own))
    if told is not None:
        assert told.message.startswith(
            f"the job is not healed: pod trainer-0 was made with {RANKS} {own}, as 0/0, and "
        )
        assert f"spec.layout.ranks is {said}: annotate the pod template with {RANKS}: {said}, or set" in told.message
        assert told.message.endswith(f"spec.layout.ranks to {own}")


@pytest.mark.parametrize("made", SIZES)
@pytest.mark.parametrize("said", [None, *SIZES])
def test_where_nothing_differs_operator_agent_and_gateway_have_one_place(said: int | None, made: int) -> None:
    pods = [a_set_pod(index, made) for index in range(8)]
    if found(pods, said) is not None:
        return
    view = view_of(objects(pods, said), Listening(0.0), NOW)
    for index, (pod, facts) in enumerate(zip(pods, view.pods, strict=True)):
        own = place(Metadata.model_validate(pod["metadata"]))
        assert isinstance(own, Placed)
        assert str(own.member) == str(facts.member) == f"{index // made}/{index % made}"
    assert view.policy.ranks == made


@pytest.mark.parametrize(("one", "other"), list(itertools.product(SIZES, SIZES)))
def test_pods_of_two_templates_differ_even_where_the_policy_says_nothing(one: int, other: int) -> None:
    told = found([a_set_pod(0, one), a_set_pod(1, other)], None)
    assert (told is None) == (one == other)
    if told is not None:
        assert told.told == (
            f"pod trainer-1 was made with {RANKS} {other}, and pod trainer-0 with {one}: "
            "make all pods from one template"
        )


def test_a_pod_that_is_being_deleted_does_not_count() -> None:
    going = a_set_pod(0, 2, deletionTimestamp="1970-01-01T00:00:09Z")
    assert found([going, a_set_pod(1, 1)], 1) is None


@pytest.mark.parametrize("ranks", SIZES)
@pytest.mark.parametrize("rank", range(5))
def test_an_annotated_place_is_one_of_the_policys_ranks(rank: int, ranks: int) -> None:
    told = found([an_annotated_pod(f"0/{rank}")], ranks)
    assert (told is None) == (rank < ranks)
    if told is not None:
        assert f"has annotations for 0/{rank}, and spec.layout.ranks is {ranks}, so ranks end at" in told.told


@pytest.mark.parametrize(("now", "made"), list(itertools.product(("0/0", "0/1", "1/0"), repeat=2)))
def test_an_agent_is_who_its_pods_marks_say_it_is(now: str, made: str) -> None:
    pod = an_annotated_pod(now)
    told = found([pod], None, speaks(pod, made))
    assert (told is None) == (now == made)
    if told is not None:
        assert f"was made as {made}, and its marks now say {now}: put its annotations back" in told.told


def test_of_a_replica_of_which_one_rank_is_there_the_others_are_waited_for() -> None:
    view = view_of(objects([a_set_pod(0, 2), a_set_pod(2, 2)], None), Listening(0.0), NOW)
    assert [str(each) for each in view.policy.members()] == ["0/0", "0/1", "1/0", "1/1"]


def looked(cluster: FakeCluster) -> Looked:
    return asyncio.run(look(Surroundings(cluster, lambda: NOW), (WHERE, JOB), Listening(0.0)))


def conditions(cluster: FakeCluster) -> dict[str, tuple[str, str]]:
    (policy,) = cluster.all(CHECKPOINTHEALS)
    return {each["type"]: (each["status"], each["reason"]) for each in policy["status"]["conditions"]}


def test_a_job_that_differs_is_left_alone_while_nobody_can_be_told() -> None:
    cluster = FakeCluster()
    cluster.put(CHECKPOINTHEALS, a_policy(layout={"replicas": 2, "ranks": 2}))
    for index in range(4):
        cluster.put(PODS, a_set_pod(index))
    seen = asyncio.run(look(Surroundings(cluster, lambda: NOW), (WHERE, JOB), Listening(0.0), tells=False))
    assert (cluster.calls, seen.untold) == ([], None)
    assert {each.reason for each in orders_of(seen).values()} == {"LayoutDiffers"}


def test_a_job_that_differs_is_told_once_left_alone_and_goes_on_when_it_is_mended() -> None:
    cluster = FakeCluster()
    cluster.put(CHECKPOINTHEALS, a_policy(layout={"replicas": 2, "ranks": 2}))
    for index in range(4):
        cluster.put(PODS, a_set_pod(index))
    for _ in range(2):
        seen = looked(cluster)
        assert [each.reason for each in seen.decisions] == [Reason.LAYOUT_DIFFERS]
    assert cluster.calls == [("patch status of", "checkpointheals")]
    assert cluster.all(HEALS) == []
    assert conditions(cluster) == {
        "LayoutDiffers": ("True", "LayoutDiffers"),
        "Protected": ("False", "LayoutDiffers"),
        "Degraded": ("True", "LayoutDiffers"),
    }
    ordered = orders_of(seen)
    assert set(ordered) == {"u0", "u1", "u2", "u3"}
    assert {(each.withdrawn, each.reason, each.epoch, each.assignment) for each in ordered.values()} == {
        (True, "LayoutDiffers", None, None)
    }
    assert "pod trainer-0 was made with checkpointheal.dev/ranks 1" in ordered["u3"].message
    for index in range(4):
        cluster.put(PODS, a_set_pod(index, 2))
    assert looked(cluster).instead is None
    assert set(conditions(cluster)) == {"Training", "Protected", "Degraded", "Done"}


def test_a_place_that_is_annotated_needs_no_ranks() -> None:
    pod = an_annotated_pod("1/1")
    assert (REPLICA in pod["metadata"]["annotations"], RANK in pod["metadata"]["annotations"]) == (True, True)
    assert found([pod], 2) is None
    assert [str(each.member) for each in claims(objects([pod], 2))[1]] == ["1/1"]


def all_of_them(_policy: Policy) -> tuple[MemberId, ...]:
    raise AssertionError("every member of a job that is too large was asked for")


def a_stored_policy(cluster: FakeCluster, **layout: int) -> None:
    """Of an older definition, which took it."""
    ref = Ref(CHECKPOINTHEALS, WHERE, JOB)
    cluster.put(CHECKPOINTHEALS, a_policy())
    cluster.objects[ref]["spec"]["layout"] = layout


@pytest.mark.parametrize(
    ("layout", "pods", "told"),
    [
        ({"replicas": 1000000, "ranks": 1000000}, ["0/0"], "1000000 replicas of 1000000 ranks"),
        ({}, ["2047/0", "0/2047"], "2048 replicas of 2048 ranks"),
    ],
)
def test_a_job_of_more_members_than_there_can_be_is_set_aside_before_they_are_counted(
    monkeypatch: pytest.MonkeyPatch, layout: dict[str, int], pods: list[str], told: str
) -> None:
    monkeypatch.setattr(Policy, "members", all_of_them)
    cluster = FakeCluster()
    a_stored_policy(cluster, **layout)
    for each in pods:
        cluster.put(PODS, an_annotated_pod(each))
    seen = looked(cluster)
    assert [each.reason for each in seen.decisions] == [Reason.TOO_MANY_MEMBERS]
    ordered = orders_of(seen)
    message = f"the job is not healed: {told} are more than 2048 members"
    assert {(each.withdrawn, each.message) for each in ordered.values()} == {(True, message)}
    assert len(ordered) == len(pods)


def test_a_job_of_too_many_members_says_so_and_is_not_protected() -> None:
    cluster = FakeCluster()
    cluster.put(CHECKPOINTHEALS, a_policy())
    for each in ("2047/0", "0/2047"):
        cluster.put(PODS, an_annotated_pod(each))
    looked(cluster)
    assert conditions(cluster) == {
        "TooManyMembers": ("True", "TooManyMembers"),
        "Protected": ("False", "TooManyMembers"),
        "Degraded": ("True", "TooManyMembers"),
    }


def test_a_selector_that_no_label_can_meet_is_told_by_what_is_wrong_with_it() -> None:
    cluster = FakeCluster()
    cluster.put(CHECKPOINTHEALS, a_policy())
    stored = cluster.objects[Ref(CHECKPOINTHEALS, WHERE, JOB)]["spec"]["selector"]
    stored["matchLabels"] = {"team": "ml/vision"}
    seen = asyncio.run(look(Surroundings(cluster, lambda: NOW), (WHERE, JOB), Listening(0.0), tells=False))
    (decision,) = seen.decisions
    assert decision.reason == "BadSelector"
    assert "spec.selector selects no pod: 'ml/vision' is no value of a label: 63 letters" in decision.message
    stored["matchLabels"] = {"team": "ml"}
    assert looked(cluster).instead is None


def test_who_is_selected_though_a_part_of_the_selector_is_no_label_is_looked_after_as_before() -> None:
    cluster = FakeCluster()
    cluster.put(CHECKPOINTHEALS, a_policy())
    stored = cluster.objects[Ref(CHECKPOINTHEALS, WHERE, JOB)]["spec"]["selector"]
    stored["matchExpressions"] = [{"key": "team", "operator": "NotIn", "values": ["ml/vision"]}]
    cluster.put(PODS, an_annotated_pod("0/0"))
    seen = asyncio.run(look(Surroundings(cluster, lambda: NOW), (WHERE, JOB), Listening(0.0), tells=False))
    assert seen.instead is None


def test_nor_are_they_counted_where_an_older_policy_has_its_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Policy, "members", all_of_them)
    cluster = FakeCluster()
    older = a_policy()
    older["metadata"] |= {"name": "older", "creationTimestamp": "1969-01-01T00:00:00Z"}
    cluster.put(CHECKPOINTHEALS, older)
    a_stored_policy(cluster, replicas=1000000)
    cluster.put(PODS, an_annotated_pod("0/0"))
    seen = looked(cluster)
    assert [each.reason for each in seen.decisions] == [Reason.CONFLICTING]
    assert orders_of(seen) == {}


def test_a_layout_of_more_members_than_there_can_be_is_refused_when_it_is_written() -> None:
    cluster = FakeCluster()
    for layout in ({"replicas": 2048, "ranks": 2}, {"replicas": 1024, "ranks": 3}):
        with pytest.raises(Refused, match="a job has 2048 members at most: replicas times ranks"):
            cluster.put(CHECKPOINTHEALS, a_policy(layout=layout))
    cluster.put(CHECKPOINTHEALS, a_policy(layout={"replicas": 256, "ranks": 8}))


@pytest.mark.parametrize(("replicas", "told"), [(3, {"u3": "NoRoom"}), (4, {})])
def test_a_pod_beyond_the_replicas_is_told_so_and_its_job_too(replicas: int, told: dict[str, str]) -> None:
    cluster = FakeCluster()
    cluster.put(CHECKPOINTHEALS, a_policy(layout={"replicas": replicas}))
    for index in range(4):
        cluster.put(PODS, a_set_pod(index))
    ordered = orders_of(looked(cluster))
    assert set(ordered) == {"u0", "u1", "u2", "u3"}
    assert {uid: each.reason for uid, each in ordered.items() if each.withdrawn} == told
    (policy,) = cluster.all(CHECKPOINTHEALS)
    said = next(each["message"] for each in policy["status"]["conditions"] if each["type"] == "Degraded")
    assert ("spec.layout.replicas is 3: raise it" in said) == bool(told)
