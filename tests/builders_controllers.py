"""Jobs of controllers that are no part of Kubernetes, and the controllers themselves."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from builders_cluster import Job, Json, Refused, apply, found, kubectl, until
from builders_jobs import COMPLETION_INDEX, workers

FOLDER = Path(__file__).parent / "e2e"
LWS = "leaderworkerset.sigs.k8s.io"


def install(name: str) -> str:
    """The controller, ready to admit and to make jobs. Returns what takes it away again."""
    made = subprocess.run([FOLDER / "controllers" / "make", name], capture_output=True, text=True, check=True).stdout
    loading = ["python3", FOLDER / "load.py", ",".join(workers()), f"checkpointheal/{name}:e2e"]
    subprocess.run(loading, check=True, timeout=300)
    kubectl("apply", "--server-side", "-f", "-", given=made)
    deployment = f"deploy/{name}-controller-manager"
    kubectl("scale", "-n", f"{name}-system", deployment, "--replicas=1")
    kubectl("set", "resources", "-n", f"{name}-system", deployment, "--requests=cpu=50m,memory=64Mi")
    kubectl("rollout", "status", "-n", f"{name}-system", deployment, "--timeout=150s", seconds=180)
    return made


@dataclass
class OfController(Job):
    """A job whose pods are found by their labels: their names are the controller's affair."""

    extra: Json | None = None
    """What its spec says besides."""

    def start(self, *, policy: bool = True) -> "OfController":
        parts = [self.service(), self.script(), self.resource()]

        def admitted() -> bool:
            """A controller that is ready may not be believed by the API server yet."""
            apply(self.namespace, *([self.checkpointheal()] if policy else []), *parts)
            return True

        until(admitted, "the job is admitted", seconds=60)
        return self

    def resource(self) -> Json:
        raise NotImplementedError

    def marks(self, rank: int) -> str:
        """Labels of the pod of this rank."""
        raise NotImplementedError

    def pod_of(self, rank: int) -> str:
        pods = found("pods", self.namespace, f"app={self.name},{self.marks(rank)}")
        staying = [each for each in pods if "deletionTimestamp" not in each["metadata"]]
        if not staying:
            raise Refused(f"no pod of rank {rank} of {self.name} is there")
        name: str = max(staying, key=lambda each: each["metadata"]["creationTimestamp"])["metadata"]["name"]
        return name


class JobSet(OfController):
    """One Job of several pods."""

    def resource(self) -> Json:
        template = self.template(f"metadata.annotations['{COMPLETION_INDEX}']")
        for each in template["spec"]["containers"][0]["env"]:
            if each["name"] == "MASTER_ADDR":
                each["value"] = f"{self.name}-r-0-0.{self.name}"
        job = {"completions": self.replicas, "parallelism": self.replicas, "backoffLimit": 100, "template": template}
        spec = {
            "network": {"subdomain": self.name, "publishNotReadyAddresses": True},
            "replicatedJobs": [{"name": "r", "replicas": 1, "template": {"spec": job}}],
        }
        metadata = {"name": self.name}
        return {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": metadata,
            "spec": spec | (self.extra or {}),
        }

    def service(self) -> Json:
        """JobSet makes the one of its pods itself."""
        return super().service() | {"metadata": {"name": f"{self.name}-unused"}}

    def marks(self, rank: int) -> str:
        return f"{COMPLETION_INDEX}={rank}"


class LeaderWorkerSet(OfController):
    """Groups of two pods."""

    size = 2

    def resource(self) -> Json:
        template = self.template(f"metadata.labels['{LWS}/group-index']")
        container = template["spec"]["containers"][0]
        (rank, *rest) = container["env"]
        worker = {"fieldRef": {"fieldPath": f"metadata.labels['{LWS}/worker-index']"}}
        container["env"] = [rank | {"name": "GROUP"}, {"name": "WORKER", "valueFrom": worker}, *rest]
        first = f"export RANK=$((GROUP * {self.size} + WORKER)) MASTER_ADDR={self.name}-0.{self.name}"
        container["command"] = ["sh", "-c", f'{first}; exec "$@"', "sh", *container["command"]]
        group = {"size": self.size, "workerTemplate": template}
        return {
            "apiVersion": f"{LWS.removesuffix('.sigs.k8s.io')}.x-k8s.io/v1",
            "kind": "LeaderWorkerSet",
            "metadata": {"name": self.name},
            "spec": {"replicas": self.replicas // self.size, "leaderWorkerTemplate": group | (self.extra or {})},
        }

    def service(self) -> Json:
        """The controller makes the one of its pods itself."""
        return super().service() | {"metadata": {"name": f"{self.name}-unused"}}

    def marks(self, rank: int) -> str:
        return f"{LWS}/group-index={rank // self.size},{LWS}/worker-index={rank % self.size}"
