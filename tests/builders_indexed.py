"""The same training as an Indexed Job: pods that end, tell their fingerprint last, and whose names are always new."""

import json
from dataclasses import dataclass, field
from typing import Any

from builders_cluster import SCRIPT, Job, Json, apply, found, kubectl, one, until

INDEX = "batch.kubernetes.io/job-completion-index"
TOLD = """
print(open(f"/out/fingerprint-{os.environ['RANK']}.json").read(), flush=True)
"""


@dataclass
class IndexedJob(Job):
    """Its trainers do not stay."""

    environment: Any = field(default_factory=lambda: {"STAY": ""})

    def script(self) -> Json:
        return super().script() | {"data": {"train.py": SCRIPT + TOLD}}

    def service(self) -> Json:
        """A pod that is being deleted is not ready: the name of its rank is its successor's as soon as that is."""
        made = super().service()
        del made["spec"]["publishNotReadyAddresses"]
        return made

    def job(self) -> Json:
        template = self.template(f"metadata.annotations['{INDEX}']")
        template["spec"] |= {"restartPolicy": "OnFailure", "subdomain": self.name}
        size = {"completionMode": "Indexed", "completions": self.replicas, "parallelism": self.replicas}
        spec = size | {"backoffLimit": 1000, "template": template}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": self.name}, "spec": spec}

    def start(self, *, policy: bool = True) -> "IndexedJob":
        apply(self.namespace, *([self.checkpointheal()] if policy else []), self.service(), self.script(), self.job())
        return self

    def pods_of(self, rank: int) -> list[Json]:
        """The oldest first."""
        pods = found("pods", self.namespace, f"{INDEX}={rank}")
        return sorted(pods, key=lambda each: str(each["metadata"]["creationTimestamp"]))

    def pod_of(self, rank: int) -> str:
        """The name of its newest pod; until there is one, a name that no pod has."""
        pods = self.pods_of(rank)
        staying = [each for each in pods if "deletionTimestamp" not in each["metadata"]]
        return str((staying or pods)[-1]["metadata"]["name"]) if pods else f"{self.name}-{rank}"

    @property
    def conditions(self) -> dict[str, str]:
        status = (one("job", self.namespace, self.name) or {}).get("status", {})
        return {each["type"]: each["status"] for each in status.get("conditions", [])}

    def until_complete(self) -> None:
        until(lambda: self.conditions.get("Complete") == "True", "the Job is complete", seen=self.look)

    def fingerprints(self) -> dict[int, Json]:
        """Read from what the trainers said last."""
        self.hurry()
        self.until_complete()
        return {rank: self._last_word(rank) for rank in range(self.replicas)}

    def _last_word(self, rank: int) -> Json:
        said = kubectl("logs", "-n", self.namespace, self.pod_of(rank), "-c", "trainer").splitlines()
        word: Json = json.loads(next(each for each in reversed(said) if each.startswith("{")))
        return word
