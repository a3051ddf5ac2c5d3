"""A job whose template has all that the injection writes but the agent, as of pods that the webhook did not see."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from builders_cluster import SYSTEM, Job, Json, kubectl, one, until

AGENT = "checkpointheal-agent"


@contextlib.contextmanager
def unseen(job: Job, *ranks: int) -> Iterator[None]:
    """The webhook does not see the pods of these ranks that are made in here, as if it were away."""
    before = {rank: job.uid(rank) for rank in ranks}
    kubectl("label", "namespace", job.namespace, "checkpointheal.dev/inject=false")
    yield
    until(lambda: all(job.uid(rank) not in ("", uid) for rank, uid in before.items()), "pods are made", seen=job.look)
    kubectl("label", "namespace", job.namespace, "checkpointheal.dev/inject-")


class PreparedJob(Job):
    """Its template has all that the injection writes, but the agent."""

    def statefulset(self) -> Json:
        rendered = injected(super().statefulset())
        pod = rendered["spec"]["template"]["spec"]
        pod["initContainers"] = [each for each in pod["initContainers"] if each["name"] != AGENT]
        return rendered


def injected(template: Json) -> Json:
    """As the plugin writes it, with what the cluster's webhook goes by."""
    told = {"--settings": ("checkpointheal-injection", "settings.json")}
    told["--gateway-root"] = ("checkpointheal-gateway-root", "root.pem")
    inject = [sys.executable, "-m", "checkpointheal_operator.plugin", "inject", "-f", "-"]
    with tempfile.TemporaryDirectory() as folder:
        for option, (name, key) in told.items():
            file = Path(folder, key)
            file.write_text((one("configmap", SYSTEM, name) or {})["data"][key])
            inject += [option, str(file)]
        given = yaml.safe_dump(template)
        done = subprocess.run(inject, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rendered: Json = yaml.safe_load(done.stdout)
    return rendered


def late_ones(job: Job, rank: int) -> list[str]:
    pod = one("pod", job.namespace, job.pod_of(rank)) or {"spec": {}}
    return [each["name"] for each in pod["spec"].get("ephemeralContainers", ())]
