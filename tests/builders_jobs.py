"""Jobs of other shapes than a StatefulSet's, and what a node or a namespace does to them."""

import subprocess

from builders_cluster import Job, Json, Refused, apply, found, kubectl, one, until

COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"


class IndexedJob(Job):
    """The same training as an Indexed Job: a pod that is replaced keeps its index, not its name."""

    def start(self, *, policy: bool = True) -> "IndexedJob":
        parts = [self.service(), self.script(), self.indexed()]
        apply(self.namespace, *([self.checkpointheal()] if policy else []), *parts)
        return self

    def indexed(self) -> Json:
        template = self.template(f"metadata.annotations['{COMPLETION_INDEX}']")
        template["spec"] |= {"restartPolicy": "OnFailure", "subdomain": self.name}
        spec = {
            "completionMode": "Indexed",
            "completions": self.replicas,
            "parallelism": self.replicas,
            "backoffLimit": 1000,
            "template": template,
        }
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": self.name}, "spec": spec}

    def pod_of(self, rank: int) -> str:
        """The newest that is not going."""
        pods = found("pods", self.namespace, f"app={self.name},{COMPLETION_INDEX}={rank}")
        staying = [each for each in pods if "deletionTimestamp" not in each["metadata"]]
        if not staying:
            raise Refused(f"no pod of rank {rank} of {self.name} is there")
        name: str = max(staying, key=lambda each: each["metadata"]["creationTimestamp"])["metadata"]["name"]
        return name


def apart(name: str) -> Json:
    """As many pods of a job on each worker as on any other; a node that is tainted counts for nothing."""
    constraint = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "nodeTaintsPolicy": "Honor",
        "labelSelector": {"matchLabels": {"app": name}},
    }
    return {"topologySpreadConstraints": [constraint]}


def node_of(job: Job, rank: int) -> str:
    pod = one("pod", job.namespace, job.pod_of(rank))
    return str((pod or {}).get("spec", {}).get("nodeName", ""))


def workers() -> list[str]:
    """Nodes that take pods which tolerate nothing."""
    return [each["metadata"]["name"] for each in found("nodes", "default") if not each["spec"].get("taints")]


def docker(*words: str, seconds: float = 120) -> str:
    """A kind node is a container."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise Refused(f"docker {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def is_ready(node: str) -> bool:
    return status_of(json_of("node", node), "Ready") == "True"


def json_of(kind: str, name: str) -> Json:
    """Of a kind that lives in no namespace."""
    return one(kind, "default", name) or {}


def status_of(holder: Json, kind: str) -> str:
    conditions: list[Json] = holder.get("status", {}).get("conditions", [])
    return next((str(each["status"]) for each in conditions if each["type"] == kind), "")


def shut_down(node: str) -> None:
    """As an administrator who knows that it will not come back: Kubernetes may make its pods elsewhere."""
    docker("stop", "--time", "5", node)
    until(lambda: not is_ready(node), f"{node} is not ready", seconds=180)
    kubectl("taint", "node", node, "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute", "--overwrite")


def switch_on(node: str) -> None:
    docker("start", node)
    until(lambda: is_ready(node), f"{node} is ready", seconds=180)
    kubectl("taint", "node", node, "node.kubernetes.io/out-of-service-")


def warnings(namespace: str, reason: str) -> list[str]:
    """What Events of this reason say."""
    return [each["message"] for each in found("events", namespace) if each.get("reason") == reason]


def _statuses(pod: Json) -> list[Json]:
    return [*pod["status"].get("containerStatuses", []), *pod["status"].get("initContainerStatuses", [])]


def _ended(status: Json, when: str) -> str:
    return str((status.get(when, {}).get("terminated") or {}).get("reason", ""))


def is_killed_for_memory(pod: Json) -> bool:
    """Whether any container of the pod was, now or before."""
    return any(_ended(each, when) == "OOMKilled" for each in _statuses(pod) for when in ("state", "lastState"))


def restarts(pod: Json, container: str) -> int:
    """How often one that ran was followed by another: what runc could not start (`unable to freeze`) never ran."""
    (status,) = (each for each in _statuses(pod) if each["name"] == container)
    return int(status["restartCount"]) - (_ended(status, "lastState") == "StartError")
