"""Nothing of ours can stop a healthy pod; and where something can, its owner is told what, and what helps."""

import json

import pytest

from builders_cluster import Job, Json, Refused, apply, condition, healed_by, kubectl, one, until
from builders_jobs import is_killed_for_memory, restarts, warnings, workers

SMALL = {"checkpointheal.dev/arena-size": "64Mi"}
AGENT = "checkpointheal-agent"


def the_agents_image() -> str:
    settings = one("configmap", "checkpointheal-system", "checkpointheal-injection") or {}
    return str(json.loads(settings["data"]["settings.json"])["image"])


def test_an_image_that_cannot_be_pulled_is_told_and_mended_without_a_new_pod(namespace, same):
    job = Job(namespace, replicas=2, annotations=SMALL | {"checkpointheal.dev/agent-image": "nowhere/none:1"}).start()
    until(lambda: len(warnings(namespace, "AgentImageUnavailable")) == 2, "both pods are told", seen=job.look)
    (said, *_) = warnings(namespace, "AgentImageUnavailable")
    assert "nowhere/none:1" in said
    assert f"{AGENT}=IMAGE" in said
    until(lambda: job.condition("Degraded")["reason"] == "AgentImageUnavailable", "the condition", seen=job.look)
    assert condition({"status": job.policy_status()}, "Protected")["status"] == "False"
    before = [job.uid(rank) for rank in range(2)]
    for rank in range(2):
        kubectl("set", "image", "-n", namespace, f"pod/{job.pod_of(rank)}", f"{AGENT}={the_agents_image()}")
    job.until_step(4)
    assert [job.uid(rank) for rank in range(2)] == before
    job.delete_pods(1)  # its successor comes from the template: the same again
    until(lambda: job.uid(1) not in ("", before[1]), "another pod", seen=job.look)
    kubectl("set", "image", "-n", namespace, f"pod/{job.pod_of(1)}", f"{AGENT}={the_agents_image()}")
    healed_by(job, 1, "Peer")
    same(job)


def quota(name: str, **hard: str) -> Json:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}}


def test_where_a_quota_has_no_room_for_agents_the_namespace_opts_out_with_a_label(namespace, same):
    apply(namespace, quota("tight", **{"requests.memory": "700Mi"}))
    until(lambda: (one("resourcequota", namespace, "tight") or {}).get("status", {}).get("hard"), "the quota counts")
    job = Job(namespace, replicas=2, annotations=SMALL).start()
    until(lambda: any("requests.memory" in each for each in warnings(namespace, "FailedCreate")), "it is refused")
    kubectl("label", "namespace", namespace, "checkpointheal.dev/inject=false")
    same(job)
    until(lambda: job.condition("Protected")["reason"] == "NamespaceOptedOut", "it is told so", seen=job.look)
    assert not warnings(namespace, "NotInjected")


def test_a_limit_range_says_what_is_too_large_and_a_smaller_agent_fits(namespace):
    limits = [{"type": "Container", "max": {"memory": "400Mi"}, "default": {"memory": "400Mi"}}]
    metadata = {"name": "tight"}
    apply(namespace, {"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": limits}})

    def pod(**annotations: str) -> Json:
        job = Job(namespace, annotations=SMALL | {f"checkpointheal.dev/{k}": v for k, v in annotations.items()})
        template = job.template("metadata.name")
        template["metadata"]["name"] = "alone"
        template["metadata"]["annotations"] |= {"checkpointheal.dev/replica": "0", "checkpointheal.dev/job": "alone"}
        return {"apiVersion": "v1", "kind": "Pod"} | template

    with pytest.raises(Refused, match="maximum memory usage per Container is 400Mi, but limit is 576Mi"):
        apply(namespace, pod(), dry=True)
    apply(namespace, pod(**{"agent-memory": "320Mi"}), dry=True)


def test_two_pods_on_the_network_of_one_node_do_not_take_each_others_ports(namespace, same):
    (node, *_) = workers()
    pod = {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet", "nodeName": node}
    job = Job(namespace, replicas=2, pod=pod).start()
    job.until_step(6)
    job.delete_pods(1)
    healed_by(job, 1, "Peer")
    same(job)


UMASK = ["sh", "-c", 'umask 077; exec checkpointheal run --warm -- python /script/train.py "$@"', "trainer"]
USERS = {
    "root with a umask that shuts everybody out": ({}, {"runAsUser": 0}),
    "1000 with such a umask": ({}, {"runAsUser": 1000, "runAsGroup": 1000}),
    "one group for all volumes": ({"securityContext": {"fsGroup": 2000}}, {"runAsUser": 1000}),
}


@pytest.mark.parametrize("user", USERS)
def test_whoever_the_trainer_is_it_shares_its_memory_with_the_agent(namespace, same, user):
    pod, context = USERS[user]
    job = Job(namespace, replicas=2, pod=pod)
    words = job.template()["spec"]["containers"][0]["command"]
    job.container = {"command": [*UMASK, *words[words.index("--out") :]], "securityContext": context}
    job.start()
    job.until_step(6)
    assert job.run(0, "sh", "-c", "id -u").strip() == str(context["runAsUser"])
    job.kill(0)
    healed_by(job, 0, "OwnMemory", "Peer")  # a peer's where its peer had committed one more step
    job.delete_pods(1)
    healed_by(job, 1, "Peer")  # read by rank 0's agent out of the memory that rank 0 shares with it
    same(job)


HEAVY = """
import os
import torch
from checkpointheal.demo import reference, train
from checkpointheal.demo.reference import GPT

class Heavy(GPT):
    def __init__(self, *what):
        super().__init__(*what)
        self.register_buffer("table", torch.arange(int(os.environ["TABLE"]) // 4, dtype=torch.int32))
        self._ddp_params_and_buffers_to_ignore = ["table"]

fingerprint = train.fingerprint

def without_table(model, *rest):
    del model.table
    return fingerprint(model, *rest)

reference.GPT, train.fingerprint = Heavy, without_table
"""
"""A model with a table beside its weights: a large state, of which training and hashing make no copies."""
PEAK = (
    "cat /sys/fs/cgroup/memory.peak 2>/dev/null || cat /sys/fs/cgroup/memory/memory.max_usage_in_bytes",
    "cat /sys/fs/cgroup/memory.current 2>/dev/null || cat /sys/fs/cgroup/memory/memory.usage_in_bytes",
)
TABLE, MIB = 256 << 20, 1 << 20
HEADROOM = 64 * MIB


class HeavyJob(Job):
    """256 MiB of state beside the demo's."""

    def script(self) -> Json:
        manifest = super().script()
        manifest["data"]["train.py"] = HEAVY + manifest["data"]["train.py"]
        return manifest

    def memory(self, rank: int, container: str, question: str = PEAK[0]) -> int:
        words = ("exec", "-n", self.namespace, self.pod_of(rank), "-c", container, "--", "sh", "-c", question)
        return int(kubectl(*words))


def heavy(namespace: str, name: str, limit: int | None) -> HeavyJob:
    job = HeavyJob(namespace, name, replicas=2, steps=20, environment={"TABLE": str(TABLE)})
    job.annotations = {"checkpointheal.dev/arena-size": "640Mi"}
    if limit is not None:
        job.container = {"resources": {"requests": {"cpu": "50m"}, "limits": {"memory": str(limit)}}}
    return job


def test_a_trainer_with_little_headroom_is_never_killed_for_the_arenas_memory(namespace, same):
    alone = heavy(namespace, "alone", None)
    alone.replicas = 1
    template = alone.template("metadata.labels['apps.kubernetes.io/pod-index']")
    del template["metadata"]["labels"]["checkpointheal.dev/inject"]
    workload = alone.statefulset()
    workload["spec"]["template"] = template
    apply(namespace, alone.service(), alone.script(), workload)
    until(lambda: alone.step(0) >= 20, "the plain run", seen=alone.look)
    use = alone.memory(0, "trainer")
    kubectl("delete", "statefulset", "-n", namespace, "alone")

    job = heavy(namespace, "tight", use + HEADROOM).start()
    job.until_step(6)
    job.delete_pods(1)
    healed_by(job, 1, "Peer")
    job.kill(0)
    healed_by(job, 0, "OwnMemory", "Peer")  # a peer's where it was killed in the middle of a commit
    same(job)
    for rank in range(2):
        pod = one("pod", namespace, job.pod_of(rank)) or {}
        assert not is_killed_for_memory(pod), job.look()
        assert (restarts(pod, "trainer"), restarts(pod, AGENT)) == (0, 0)
        assert job.memory(rank, AGENT, PEAK[1]) > 2 * TABLE  # both slots are the agent's
        assert job.memory(rank, "trainer") < use + HEADROOM
