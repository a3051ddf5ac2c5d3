"""Many pods, as a cluster has them: which are there, to which job does each belong, what does its object look like?"""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from builders_injection import injected
from checkpointheal_operator.api.base import second
from checkpointheal_operator.core import identity
from checkpointheal_operator.core.identity import RANK, REPLICA
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS
from fake_api import pod_token

Json = dict[str, Any]
TEMPLATE = Path(__file__).parents[2] / "tests" / "injection" / "pods" / "statefulset.yaml"
JOBS_A_NAMESPACE = 10
MANAGED_BYTES = 9000
"""Of managed fields; with them an injected pod of a real cluster has about 16 kB."""
BORN = 1_700_000_000.0
OTHERS = "others"
"""The namespace of those that did not opt in."""


class Crowd(NamedTuple):
    """So many pods that opted in, in equal jobs, and so many others."""

    pods: int
    jobs: int
    others: int = 0

    @property
    def replicas(self) -> int:
        return self.pods // self.jobs

    def job(self, number: int) -> int:
        return number // self.replicas

    def replica(self, number: int) -> int:
        return number % self.replicas

    def namespace(self, job: int) -> str:
        return f"team-{job // JOBS_A_NAMESPACE}"


CROWDED = Crowd(pods=10_000, jobs=200, others=50_000)
"""As a large cluster is."""


def policy(crowd: Crowd, job: int) -> Json:
    """The job's CheckpointHeal."""
    spec = {"selector": {"matchLabels": {"job": f"job-{job}"}}, "layout": {"replicas": crowd.replicas}}
    metadata = {"name": f"job-{job}", "namespace": crowd.namespace(job)}
    return {"apiVersion": CHECKPOINTHEALS.api, "kind": CHECKPOINTHEALS.kind, "metadata": metadata, "spec": spec}


def pod(crowd: Crowd, number: int) -> Json:
    """One that opted in, was injected and runs."""
    job = crowd.job(number)
    made: Json = json.loads(_template())
    made["metadata"] |= {
        "name": f"pod-{number}",
        "namespace": crowd.namespace(job),
        "uid": f"uid-of-pod-{number}",
        "creationTimestamp": second(BORN),
        "labels": made["metadata"]["labels"] | {"job": f"job-{job}"},
        "annotations": made["metadata"]["annotations"]
        | {identity.JOB: f"job-{job}", REPLICA: str(crowd.replica(number)), RANK: "0"},
    }
    return made


def other(number: int) -> Json:
    """One that did not opt in."""
    made: Json = json.loads(_template())
    del made["metadata"]["labels"]["checkpointheal.dev/inject"]
    made["metadata"] |= {"name": f"other-{number}", "namespace": OTHERS, "uid": f"uid-of-other-{number}"}
    return made


def token(pod: Json) -> Json:
    """What the API server knows of the pod's token, which here is its uid."""
    metadata = pod["metadata"]
    return pod_token(metadata["namespace"], metadata["name"], metadata["uid"])


@cache
def _template() -> str:
    made = injected(yaml.safe_load(TEMPLATE.read_text()))
    names = [each["name"] for each in (*made["spec"]["containers"], *made["spec"]["initContainers"])]
    running = [{"name": each, "ready": True, "state": {"running": {"startedAt": second(BORN)}}} for each in names]
    made["spec"]["nodeName"] = "node-1"
    made["status"] = {"phase": "Running", "podIP": "127.0.0.1", "hostIP": "127.0.0.1"}
    made["status"] |= {"containerStatuses": running[:-1], "initContainerStatuses": running[-1:]}
    made["metadata"]["managedFields"] = [{"manager": "kubelet", "fieldsV1": {"f:metadata": _fields()}}]
    return json.dumps(made)


def _fields() -> Json:
    """As many small objects as there are in those of a real pod."""
    return {f"f:some-field-{number:03d}": {".": {}, "f:name": {}} for number in range(MANAGED_BYTES // 45)}
