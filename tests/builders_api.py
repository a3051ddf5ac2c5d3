"""API objects of a job, made from what the core's builders say."""

from checkpointheal_operator.api.base import Json, second
from checkpointheal_operator.core import identity
from checkpointheal_operator.core.facts import PodFacts
from checkpointheal_operator.core.identity import RANK, REPLICA
from checkpointheal_operator.core.injection_parts import AGENT
from checkpointheal_operator.core.injection_settings import INJECT
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, PODS
from fake_cluster import FakeCluster

WHERE, JOB = "training", "demo"


def a_policy(**spec: object) -> Json:
    """What a user applies."""
    return {
        "apiVersion": CHECKPOINTHEALS.api,
        "kind": CHECKPOINTHEALS.kind,
        "metadata": {"name": JOB, "namespace": WHERE},
        "spec": {"selector": {"matchLabels": {"app": JOB}}} | spec,
    }


def pod_object(pod: PodFacts, job: str = JOB) -> Json:
    """The pod as the API server has it. Which place it claims is written on it by hand."""
    metadata: Json = {
        "name": pod.name,
        "namespace": WHERE,
        "uid": pod.uid,
        "creationTimestamp": second(pod.seen_since),
        "labels": {"app": JOB, INJECT: "true"},
        "annotations": {identity.JOB: job, REPLICA: str(pod.member.replica), RANK: str(pod.member.rank)},
    }
    if pod.terminating:
        metadata["deletionTimestamp"] = second(pod.seen_since if pod.ends_at is None else pod.ends_at)
    phase = "Succeeded" if pod.finished else "Running"
    return {
        "metadata": metadata,
        "spec": {"nodeName": pod.node, "initContainers": [{"name": AGENT}]},
        "status": {"phase": phase, "podIP": "10.0.0.1"},
    }


def set_pods(cluster: FakeCluster, *pods: PodFacts, job: str = JOB) -> None:
    """Exactly these pods are there."""
    for ref in [ref for ref in cluster.objects if ref.kind == PODS]:
        del cluster.objects[ref]
    for each in pods:
        cluster.put(PODS, pod_object(each, job))
