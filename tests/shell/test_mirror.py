"""Whatever order events come in, and however often, a mirror holds the latest truth."""

from itertools import permutations

import pytest

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core.injection_parts import AGENT
from checkpointheal_operator.core.pod_trouble import not_begun, trouble
from checkpointheal_operator.core.trainer_ails import trainer_ails
from checkpointheal_operator.shell.mirror import Mirror
from checkpointheal_operator.shell.slim import AGENT_ALONE, slim_pod


def an_object(version: int, uid: str = "u1", name: str = "a") -> Json:
    return {"metadata": {"namespace": "n", "name": name, "uid": uid, "resourceVersion": str(version)}}


def a_mirror(*objects: Json) -> Mirror:
    mirror = Mirror(lambda *_: None)
    for each in objects:
        mirror.put(each)
    return mirror


LIFE = (("put", an_object(1)), ("put", an_object(4)), ("drop", an_object(6)), ("put", an_object(9, "u2")))


@pytest.mark.parametrize("order", list(permutations(range(len(LIFE)))))
def test_in_any_order_the_last_life_is_held(order):
    mirror = a_mirror()
    for index in (*order, *reversed(order)):
        what, found = LIFE[index]
        if what == "put":
            mirror.put(found)
        else:
            mirror.drop(found["metadata"]["uid"], found["metadata"]["resourceVersion"])
    assert list(mirror) == [an_object(9, "u2")]
    assert mirror.by_uid("u1") is None
    assert mirror.by_uid("u2") == an_object(9, "u2")


def test_a_list_takes_the_place_of_all_but_what_was_heard_of_later():
    mirror = a_mirror(an_object(1, "u1", "a"), an_object(2, "u2", "b"), an_object(9, "u3", "c"))
    mirror.replace([an_object(5, "u1", "a")], "7")
    assert sorted(each["metadata"]["name"] for each in mirror) == ["a", "c"]
    assert mirror.get("n", "a") == an_object(5, "u1", "a")


def test_of_a_list_that_is_read_again_nothing_is_held_twice():
    mirror = a_mirror(an_object(4))
    (held,) = mirror
    assert mirror.kept(an_object(4)) is held
    assert mirror.kept(an_object(5)) == an_object(5)
    assert mirror.kept(an_object(4, "u2")) == an_object(4, "u2")


def test_what_was_deleted_here_does_not_come_back_by_an_older_list():
    mirror = a_mirror(an_object(5))
    mirror.drop("u1")
    mirror.replace([an_object(5)], "4")
    mirror.put(an_object(5))
    assert list(mirror) == []


def test_what_is_not_selected_any_more_and_then_again_is_held_again():
    mirror = a_mirror(an_object(5))
    mirror.drop("u1", "6")
    mirror.put(an_object(5))
    assert list(mirror) == []
    mirror.put(an_object(7))
    assert list(mirror) == [an_object(7)]


def test_of_what_was_deleted_here_nothing_counts_any_more_however_late():
    mirror = a_mirror(an_object(5))
    mirror.drop("u1")
    mirror.drop("u1", "6")
    mirror.put(an_object(7))
    assert list(mirror) == []


def test_the_memory_of_deletions_does_not_grow():
    mirror = a_mirror()
    for version in range(1, 100):
        mirror.put(an_object(version, f"u{version}"))
        mirror.drop(f"u{version}", str(version))
    mirror.passed("99")
    assert mirror._gone == {}
    assert len(mirror) == 0


def test_each_change_is_told_once():
    told: list[tuple[str | None, str | None]] = []

    def changed(before: Json | None, now: Json | None) -> None:
        told.append((before and before["spec"], now and now["spec"]))

    mirror = Mirror(changed)
    for version, spec in ((1, "a"), (1, "a"), (2, "b")):
        mirror.put(an_object(version) | {"spec": spec})
    mirror.drop("u1", "3")
    mirror.drop("u1", "3")
    assert told == [(None, "a"), ("a", "b"), ("b", None)]


def test_a_new_version_of_what_is_held_already_is_kept_and_told_to_nobody():
    told: list[None] = []
    mirror = Mirror(lambda *_: told.append(None))
    for version in (1, 2):
        mirror.put(an_object(version))
    assert [each["metadata"]["resourceVersion"] for each in mirror] == ["2"]
    assert len(told) == 1


def test_what_we_wrote_ourselves_wakes_nobody_and_its_echo_neither():
    told: list[None] = []
    mirror = Mirror(lambda *_: told.append(None))
    mirror.put(an_object(1), ours=True)
    mirror.put(an_object(1))
    assert (len(mirror), told) == (1, [])


def a_whole_pod(state: Json | None = None, last: Json | None = None) -> Json:
    """As an API server tells it, with much that nobody reads."""
    container = {"name": AGENT, "image": "agent", "env": [{"name": "X", "value": "x" * 1000}]}
    said = {"name": AGENT, "image": "agent", "imageID": "i", "state": state or {"running": {}}, "lastState": last or {}}
    metadata = an_object(1)["metadata"] | {"labels": {"app": "a"}, "managedFields": [{"manager": "kubelet"}]}
    return {
        "metadata": metadata,
        "spec": {"nodeName": "n1", "initContainers": [{"name": "first"}, container], "containers": [{"name": "t"}]},
        "status": {"phase": "Running", "initContainerStatuses": [{"name": "first"}, said]},
    }


def with_trainer(state: Json) -> Json:
    pod, last = a_whole_pod(), {"terminated": {"reason": "OOMKilled", "exitCode": 137, "message": "x" * 1000}}
    said = {"name": "t", "image": "trainer", "state": state, "lastState": {} if "running" in state else last}
    return pod | {"status": pod["status"] | {"containerStatuses": [said]}}


def that_waits_for(condition: Json, node: str = "", state: Json | None = None) -> Json:
    said = {"initContainerStatuses": [{"name": AGENT, "state": state}]} if state else {}
    status = {"phase": "Pending", "conditions": [condition | {"lastTransitionTime": None}]} | said
    return a_whole_pod() | {"spec": {"nodeName": node, "initContainers": [{"name": AGENT}]}, "status": status}


def test_of_a_pod_whose_agent_runs_little_is_kept_and_nothing_for_each_pod_anew():
    slim = slim_pod(a_whole_pod())
    assert slim["spec"] == {"nodeName": "n1", "initContainers": [{"name": AGENT}]}
    assert slim["spec"]["initContainers"] is AGENT_ALONE
    assert slim["status"] == {"phase": "Running"}
    assert "managedFields" not in slim["metadata"]


@pytest.mark.parametrize(
    "pod",
    [
        a_whole_pod(),
        a_whole_pod({"waiting": {"reason": "ErrImagePull", "message": "no such tag"}}),
        a_whole_pod({"running": {}}, {"terminated": {"reason": "OOMKilled", "exitCode": 137}}),
        a_whole_pod() | {"spec": {"containers": []}},
        a_whole_pod() | {"spec": {"containers": [{"name": "t"}]}},
        with_trainer({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}),
        with_trainer({"running": {}}),
        that_waits_for({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/8 nodes"}),
        that_waits_for({"type": "PodScheduled", "status": "True"}, node="n1"),
        that_waits_for({"type": "PodScheduled", "status": "True"}, node="n1", state={"running": {}}),
        a_whole_pod() | {"spec": {"ephemeralContainers": [{"name": AGENT}]}},
    ],
)
def test_a_slim_pod_tells_the_same_trouble_and_is_slim_already(pod):
    slim = slim_pod(pod)
    for asked in (trouble, not_begun, trainer_ails):
        assert asked(slim) == asked(pod)
    assert slim_pod(slim) == slim
