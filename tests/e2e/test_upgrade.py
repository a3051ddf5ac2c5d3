"""Another build may come in the middle of a heal, and go; and when ours leaves altogether, it holds nothing back."""

import json
import os

import pytest

from builders_cluster import LARGE, SYSTEM, Job, healed_by, kubectl, one, until
from builders_release import CHART, RELEASE, build_a_later_one, helm, until_the_webhook_is_believed, upgrade

TAG = os.environ.get("TAG", "dev")
NEXT = f"{TAG}-next"


@pytest.fixture
def next_build():
    """Afterwards the release is what it was."""
    build_a_later_one(TAG, NEXT)
    yield NEXT
    upgrade(f"image.tag={TAG}")


def agents_image(job: Job, rank: int) -> str:
    pod = one("pod", job.namespace, job.pod_of(rank)) or {"spec": {"initContainers": [{"image": ""}]}}
    return str(pod["spec"]["initContainers"][0]["image"])


def test_another_build_comes_and_goes_in_the_middle_of_heals(namespace, next_build, same):
    job = Job(namespace, environment={"PACE": "2"}, **LARGE | {"steps": 60}).start()
    job.until_step(3)
    for rank, running, coming in ((1, TAG, NEXT), (2, NEXT, TAG)):
        old = job.uid(rank)
        job.delete_pods(rank)
        until(lambda rank=rank: job.receiving(rank), "a transfer is under way", seen=job.look)
        assert job.uid(rank) != old
        assert agents_image(job, rank).endswith(f":{running}")
        upgrade(f"image.tag={coming}")
        healed_by(job, rank, "Peer")
    old = [job.uid(rank) for rank in range(3)]
    job.delete_pods(0, 1)  # the only donor that is left has the agent of the build that went
    until(lambda: all(job.uid(rank) not in ("", old[rank]) for rank in (0, 1)), "other pods", seen=job.look)
    assert [agents_image(job, rank).rpartition(":")[2] for rank in range(3)] == [TAG, TAG, NEXT]
    until(lambda: len([each for each in job.verdicts() if each[1:] == ("Peer", "True")]) == 4, "heals", seen=job.look)
    same(job)


def finalizers_and_annotations(namespace: str) -> dict[str, set[str]]:
    """Of every object in the namespace and the namespace itself: what could hold it back, and what is written on it."""
    kinds = kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    kinds = [each for each in kinds if not each.startswith(("events", "pods.metrics", "nodes.metrics"))]
    text = kubectl("get", ",".join(kinds), "-n", namespace, "-o", "json", "--ignore-not-found")
    objects = [*json.loads(text)["items"], one("namespace", "default", namespace) or {"metadata": {}}]
    return {
        "finalizers": {each for found in objects for each in found["metadata"].get("finalizers") or ()},
        "annotations": {
            key for found in objects if found.get("kind") != "Pod" for key in found["metadata"].get("annotations") or ()
        },
    }


def test_a_release_that_is_uninstalled_leaves_nothing_behind_and_comes_back_to_agents_that_know_it(
    namespace, same, tmp_path
):
    job = Job(namespace, environment={"PACE": "2"}, steps=60).start()
    other = f"{namespace}-other"
    kubectl("create", "namespace", other)
    Job(other, replicas=1).start()
    job.until_step(3)
    roots, values = one("secret", SYSTEM, f"{RELEASE}-roots"), tmp_path / "values.yaml"
    values.write_text(helm("get", "values", RELEASE, "-o", "yaml"))
    helm("uninstall", RELEASE, "--wait")
    try:
        held = finalizers_and_annotations(namespace)
        assert not [each for each in (*held["finalizers"], *held["annotations"]) if "kopf" in each]
        assert not [each for each in held["finalizers"] if "checkpointheal" in each]
        assert not [each for each in held["annotations"] if "checkpointheal" in each]
        kubectl("delete", "namespace", other, "--wait", "--timeout=90s")
        step = job.step(0)
        job.until_step(step + 3)
    finally:
        helm("install", RELEASE, CHART, "--values", str(values), "--wait", "--timeout", "240s")
    until_the_webhook_is_believed()
    assert (one("secret", SYSTEM, f"{RELEASE}-roots") or {})["data"] == (roots or {})["data"]
    old = job.uid(1)
    job.delete_pods(1)
    until(lambda: job.uid(1) not in ("", old), "another pod", seen=job.look)
    healed_by(job, 1, "Peer")  # given by an agent that was certified by the release before
    same(job)
