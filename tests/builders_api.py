"""API objects of a job, made from what the core's builders say."""

from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.api.base import Json, second
from checkpointheal_operator.core.view import PodFacts
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, PODS
from checkpointheal_operator.shell.gather import INJECT
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


def pod_object(pod: PodFacts, **labels: str) -> Json:
    """The pod as the API server has it. Which place it claims is written on it."""
    metadata: Json = {
        "name": pod.name,
        "namespace": WHERE,
        "uid": pod.uid,
        "creationTimestamp": second(pod.seen_since),
        "labels": {"app": JOB, INJECT: "true", "place": str(pod.member).replace("/", ".")} | labels,
    }
    if pod.terminating:
        metadata["deletionTimestamp"] = second(pod.seen_since)
    phase = "Succeeded" if pod.finished else "Running"
    return {"metadata": metadata, "spec": {"nodeName": pod.node}, "status": {"phase": phase}}


def place_of(pod: Json) -> MemberId | None:
    """Which place a pod of ours claims."""
    place = pod["metadata"]["labels"].get("place")
    return MemberId.parse(place.replace(".", "/")) if place else None


def set_pods(cluster: FakeCluster, *pods: PodFacts) -> None:
    """Exactly these pods are there."""
    for ref in [ref for ref in cluster.objects if ref.kind == PODS]:
        del cluster.objects[ref]
    for each in pods:
        cluster.put(PODS, pod_object(each))
