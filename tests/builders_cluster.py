"""A training job on a real cluster, as its owner would write it, and what a test does to it.

Everything is asked of the cluster by `kubectl`, as a user would. Waiting is patient and ends with what was seen.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]

CONTEXT = f"kind-{os.environ.get('CLUSTER', 'checkpointheal')}"
SYSTEM = "checkpointheal-system"
TAG = os.environ.get("TAG", "dev")
IMAGE = f"checkpointheal/trainer:{TAG}"
PATIENCE = float(os.environ.get("PATIENCE", "240"))
"""Seconds for what takes a few where nobody else wants the machine."""
STEPS = 40
MODEL = ("--layers", "2", "--width", "128", "--heads", "4")
ARENA, ARENA_FOLDER = "64Mi", "/run/checkpointheal/arena/shared"
LARGE = {
    "steps": 24,
    "model": ("--layers", "4", "--width", "256", "--heads", "4"),
    "annotations": {"checkpointheal.dev/arena-size": "192Mi"},
    "policy": {"donors": {"bytesPerSecond": 2_500_000}},
}
"""Of a job whose state is five chunks, which cross in about a quarter of a minute: long enough to disturb them."""
SCRIPT = """
import os, signal, time
from pathlib import Path
from checkpointheal.demo import train

step, pace, hold = train.train_step, float(os.environ.get("PACE", "0.3")), "/out/hold-" + os.environ["RANK"]
if os.path.exists("/out/world"):  # what an elastic launcher would say after the job was scaled
    with open("/out/world") as said:
        os.environ["WORLD_SIZE"] = said.read()

def paced(*what):
    time.sleep(0 if os.path.exists("/out/hurry") else pace)
    if os.path.exists(hold):
        train.tell(Path("/out"), int(os.environ["RANK"]), event="held")
    while os.path.exists(hold):
        time.sleep(0.05)
    return step(*what)

train.train_step = paced
train.main()
if os.environ.get("STAY"):
    signal.pause()
"""
"""The demo's training, slow enough to be disturbed. With STAY a trainer that is done stays, so that it can be asked."""


class Refused(AssertionError):
    """kubectl did not do it."""


def kubectl(*words: str, given: str | None = None, seconds: float = 120) -> str:
    """What it says; raises Refused with what it complains of."""
    command = ["kubectl", "--context", CONTEXT, *words]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise Refused(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def kubeconfig(file: Path) -> Path:
    """Written there for whoever does not ask by kubectl: this cluster alone, for nobody else's eyes."""
    file.write_text(kubectl("config", "view", "--raw", "--minify", "--flatten"))
    file.chmod(0o600)
    return file


def plugin(verb: str, *words: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """`kubectl checkpointheal`: it is installed beside the Python that runs the tests."""
    command = ["kubectl", "checkpointheal", verb, *words, "--context", CONTEXT]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, check=False, env=os.environ | {"PATH": path}
    )


def apply(namespace: str, *objects: Json, dry: bool = False) -> str:
    """Make them so."""
    options = ["--dry-run=server"] if dry else []
    return kubectl("apply", "-n", namespace, *options, "-f", "-", given=yaml.safe_dump_all(objects))


def found(kind: str, namespace: str, labels: str = "") -> list[Json]:
    """All of them."""
    options = ["-l", labels] if labels else []
    items: list[Json] = json.loads(kubectl("get", kind, "-n", namespace, "-o", "json", *options))["items"]
    return items


def one(kind: str, namespace: str, name: str) -> Json | None:
    """One object, if it is there."""
    text = kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
    return json.loads(text) if text.strip() else None


def until(true: Callable[[], Any], what: str, seconds: float = PATIENCE, seen: Callable[[], Any] | None = None) -> Any:
    """What `true` returns, once it is something. What cannot be asked now is asked again."""
    deadline, trouble = time.monotonic() + seconds, ""
    while time.monotonic() < deadline:
        try:
            if answer := true():
                return answer
        except (Refused, subprocess.TimeoutExpired) as error:
            trouble = str(error)
        time.sleep(0.5)
    told = seen() if seen is not None else ""
    raise AssertionError(f"not within {seconds:.0f} s: {what}; {trouble}; {told}")


@dataclass
class Job:
    """Three replicas of one model in a namespace of their own."""

    namespace: str
    name: str = "trainer"
    replicas: int = 3
    steps: int = STEPS
    model: Sequence[str] = MODEL
    annotations: Mapping[str, str] = field(default_factory=lambda: {"checkpointheal.dev/arena-size": ARENA})
    environment: Mapping[str, str] = field(default_factory=dict)
    policy: Json = field(default_factory=dict)
    workload: Json = field(default_factory=dict)
    pod: Json = field(default_factory=dict)
    container: Json = field(default_factory=dict)

    @property
    def labels(self) -> Json:
        return {"app": self.name, "checkpointheal.dev/inject": "true"}

    @cached_property
    def selector(self) -> Json:
        return {"matchLabels": {"app": self.name}}

    def checkpointheal(self) -> Json:
        spec = {"selector": self.selector} | self.policy
        return {
            "apiVersion": "checkpointheal.dev/v1alpha1",
            "kind": "CheckpointHeal",
            "metadata": {"name": self.name},
            "spec": spec,
        }

    def service(self) -> Json:
        spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"app": self.name}}
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": self.name}, "spec": spec}

    def script(self) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{self.name}-script"},
            "data": {"train.py": SCRIPT},
        }

    def template(self, rank: str = "metadata.labels['apps.kubernetes.io/pod-index']") -> Json:
        said = {
            "WORLD_SIZE": str(self.replicas),
            "MASTER_ADDR": f"{self.name}-0.{self.name}",
            "MASTER_PORT": "29500",
            "OMP_NUM_THREADS": "1",
            "STAY": "yes",
        }
        variables = [{"name": key, "value": value} for key, value in (said | dict(self.environment)).items() if value]
        options = ["--out", "/out", "--steps", str(self.steps), *self.model]
        container: Json = {
            "name": "trainer",
            "image": IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["checkpointheal", "run", "--warm", "--", "python", "/script/train.py", *options],
            "env": [{"name": "RANK", "valueFrom": {"fieldRef": {"fieldPath": rank}}}, *variables],
            "resources": {"requests": {"cpu": "50m", "memory": "300Mi"}},
            "volumeMounts": [{"name": "out", "mountPath": "/out"}, {"name": "script", "mountPath": "/script"}],
        }
        volumes = [
            {"name": "out", "emptyDir": {}},
            {"name": "script", "configMap": {"name": f"{self.name}-script"}},
        ]
        spec = {"terminationGracePeriodSeconds": 3, "containers": [container | self.container], "volumes": volumes}
        return {"metadata": {"labels": self.labels, "annotations": dict(self.annotations)}, "spec": spec | self.pod}

    def statefulset(self) -> Json:
        spec = {
            "serviceName": self.name,
            "replicas": self.replicas,
            "podManagementPolicy": "Parallel",
            "selector": self.selector,
            "template": self.template(),
        }
        spec |= self.workload
        return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": self.name}, "spec": spec}

    def start(self, *, policy: bool = True) -> "Job":
        """The namespace, and all in it."""
        parts = [self.service(), self.script(), self.statefulset()]
        apply(self.namespace, *([self.checkpointheal()] if policy else []), *parts)
        return self

    def pod_of(self, rank: int) -> str:
        return f"{self.name}-{rank}"

    def run(self, rank: int, *command: str) -> str:
        """A command beside the trainer."""
        return kubectl("exec", "-n", self.namespace, self.pod_of(rank), "-c", "trainer", "--", *command)

    def events(self, rank: int) -> list[Json]:
        """What the trainer in this rank's pod has told so far; a new pod knows nothing of the one before."""
        try:
            text = self.run(rank, "cat", f"/out/progress-{rank}.jsonl")
        except Refused:
            return []
        return [json.loads(each) for each in text.splitlines()]

    def step(self, rank: int) -> int:
        return max((each["step"] for each in self.events(rank) if each["event"] == "step"), default=0)

    def until_step(self, step: int) -> None:
        until(lambda: all(self.step(rank) >= step for rank in range(self.replicas)), f"step {step}", seen=self.look)

    def kill(self, rank: int, signal: int = 9) -> None:
        """End the trainer, as an out-of-memory killer would; never process 1, which the kernel spares."""
        self.run(rank, "kill", f"-{signal}", str(self.events(rank)[-1]["pid"]))

    def kill_between_steps(self, rank: int) -> None:
        """End the trainer where all keep the same step: whom it ends inside one may keep one less than its peers do."""
        self.run(rank, "touch", f"/out/hold-{rank}")
        until(lambda: self._all_keep_what_is_held(rank), f"rank {rank} is held between two steps", seen=self.look)
        pid = self.events(rank)[-1]["pid"]
        self.run(rank, "sh", "-c", f"kill -9 {pid}; rm /out/hold-{rank}")

    def _all_keep_what_is_held(self, rank: int) -> bool:
        step, held = self.step(rank), self.events(rank)[-1]["event"] == "held"
        return held and all(self.kept(each) == step for each in range(self.replicas))

    def kept(self, rank: int) -> int:
        """The newest step in this rank's arena."""
        words = ("checkpointheal", "open", "--json", self.arena_of(rank))
        said = kubectl("exec", "-n", self.namespace, self.pod_of(rank), "-c", "checkpointheal-agent", "--", *words)
        return max(int(each["step"]) for each in json.loads(said)["sealed"])

    def arena_of(self, rank: int) -> str:
        """Where it lies in this rank's pod."""
        return ARENA_FOLDER

    def delete_pods(self, *ranks: int) -> None:
        kubectl("delete", "pod", "-n", self.namespace, "--wait=false", *map(self.pod_of, ranks))

    def scale(self, replicas: int) -> None:
        kubectl("scale", "-n", self.namespace, f"statefulset/{self.name}", f"--replicas={replicas}")

    def heals_of(self, rank: int) -> list[Json]:
        """Of the pods that held this rank's place, as they were opened."""
        ours = [each for each in self.heals if each["spec"]["recipient"]["pod"] == self.pod_of(rank)]
        return sorted(ours, key=lambda each: each["spec"]["openedAt"])

    def receiving(self, rank: int) -> Json | None:
        """The open heal of this rank, if bytes cross for it now by what the operator last told."""
        for heal in self.heals_of(rank):
            status = heal.get("status", {})
            if not status.get("concludedAt") and status.get("transfer", {}).get("state") == "receiving":
                return heal
        return None

    def agent_log(self, rank: int) -> str:
        return self.log(rank, "checkpointheal-agent")

    def log(self, rank: int, container: str) -> str:
        return kubectl("logs", "-n", self.namespace, self.pod_of(rank), "-c", container)

    def uid(self, rank: int) -> str:
        pod = one("pod", self.namespace, self.pod_of(rank))
        return pod["metadata"]["uid"] if pod else ""

    def hurry(self) -> None:
        """Nothing more is going to be disturbed."""
        for rank in range(self.replicas):
            with contextlib.suppress(Refused):
                self.run(rank, "touch", "/out/hurry")

    def fingerprints(self, seconds: float = PATIENCE) -> dict[int, Json]:
        """Of every rank, once all are through."""
        self.hurry()

        def all_of_them() -> dict[int, Json] | None:
            return {
                rank: json.loads(self.run(rank, "cat", f"/out/fingerprint-{rank}.json"))
                for rank in range(self.replicas)
            }

        prints: dict[int, Json] = until(all_of_them, "every rank has finished", seconds, seen=self.look)
        return prints

    @property
    def heals(self) -> list[Json]:
        return found("heals", self.namespace)

    def verdicts(self) -> list[tuple[str, str, str]]:
        """Recipient, rung and whether it was healed, of each heal that is over."""
        over = [each for each in self.heals if each.get("status", {}).get("concludedAt")]
        return sorted(
            (each["spec"]["recipient"]["pod"], each["status"].get("rung", ""), condition(each, "Healed")["status"])
            for each in over
        )

    def policy_status(self) -> Json:
        status: Json = (one("checkpointheal", self.namespace, self.name) or {}).get("status", {})
        return status

    def condition(self, kind: str) -> Json:
        return condition({"status": self.policy_status()}, kind)

    def look(self) -> str:
        """For whoever reads why a test failed."""
        parts = [kubectl("get", "pods,checkpointheals,heals", "-n", self.namespace, "-o", "wide")]
        parts += [json.dumps(each["spec"]) for each in self.heals]
        for rank in range(self.replicas):
            for each in ("trainer", "checkpointheal-agent"):
                try:
                    parts.append(kubectl("logs", "-n", self.namespace, self.pod_of(rank), "-c", each, "--tail=8"))
                except Refused as error:
                    parts.append(str(error))
        parts.append(kubectl("logs", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator", "--tail=15"))
        return "\n".join(parts)


def healed_by(job: Job, rank: int, *rungs: str) -> None:
    """This rank's heal came to a good end, on one of these rungs."""
    wanted = {(job.pod_of(rank), rung, "True") for rung in rungs}
    until(lambda: wanted.intersection(job.verdicts()), f"one of {wanted} among the heals", seen=job.look)


def leader() -> str:
    """The operator's pod that leads."""
    holder: str = (one("lease", SYSTEM, "checkpointheal") or {}).get("spec", {}).get("holderIdentity", "")
    return holder.partition("/")[0]


def condition(holder: Json, kind: str) -> Json:
    """One of an object's conditions."""
    conditions: list[Json] = holder.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), {"status": "", "reason": "", "message": ""})


def plain_run(namespace: str, name: str, job: Job, seconds: float = PATIENCE) -> dict[int, Json]:
    """What the same training comes to when nothing ever happens: the plain script, its ranks in one pod."""
    options = " ".join(["--out", "/out", "--steps", str(job.steps), *job.model])
    train = side_by_side(f"python -m checkpointheal.demo.reference {options}", job.replicas)
    show = "for r in {}; do cat /out/fingerprint-$r.json; echo; done".format(" ".join(map(str, range(job.replicas))))
    container = in_one_pod(f"{train}; {show}", job.replicas) | {"volumeMounts": [{"name": "out", "mountPath": "/out"}]}
    said = once(namespace, name, container, [{"name": "out", "emptyDir": {}}], seconds)
    lines = [each for each in said.splitlines() if each.startswith("{")]
    return {rank: json.loads(lines[rank]) for rank in range(job.replicas)}


def in_one_pod(shell: str, world: int, more: Mapping[str, str] | None = None) -> Json:
    """A container whose shell starts all ranks; `more`: variables of theirs."""
    said = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "OMP_NUM_THREADS": "1"}
    said |= more or {}
    env = [{"name": key, "value": value} for key, value in said.items()]
    return {"command": ["sh", "-c", shell], "env": env}


def once(namespace: str, name: str, container: Json, volumes: Sequence[Json], seconds: float = PATIENCE) -> str:
    """What a pod says that ends well."""
    container = {"name": "once", "image": IMAGE, "imagePullPolicy": "IfNotPresent"} | container
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": [*volumes]}
    apply(namespace, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})

    def phase() -> str | None:
        ended = (one("pod", namespace, name) or {}).get("status", {}).get("phase")
        return ended if ended in ("Succeeded", "Failed") else None

    ended = until(phase, f"{name} comes to its end", seconds)
    said = kubectl("logs", "-n", namespace, name)
    assert ended == "Succeeded", said
    return said


def side_by_side(command: str, world: int) -> str:
    """A shell's line that runs it once for each rank, and ends well if all do."""
    start = f'for r in {" ".join(map(str, range(world)))}; do RANK=$r {command} & all="$all $!"; done'
    return f"{start}; for each in $all; do wait $each || exit 1; done"
