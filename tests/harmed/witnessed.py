"""A job of pods that say on their nodes what they do, and how that is fetched. Must not know what is done to them."""

import contextlib
import io
import json
import subprocess
import tarfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bad_cluster import POLICY, RUN
from builders_adapters import PROGRAMS
from builders_cluster import Job, Json, Refused, kubectl
from builders_jobs import docker, workers
from harmed.ordeal import PATIENCE
from harmed.stacks import Stack

PACE = "0.5"
"""Seconds a micro-batch: kubectl takes about as long to strike."""
CODE, THERE = "/code", "/witness"
ON_NODE = "/var/lib/checkpointheal-witness"
GROWN = 1
"""What tar ends with where a file grew as it was read: its last line may be a part of one."""
EXAMPLES = PROGRAMS.parents[2] / "examples"


@dataclass
class WatchedJob(Job):
    """Pods that run a program of `tests/integrations/programs`, which says on its node what it does."""

    stack: Stack = field(kw_only=True)

    def script(self) -> Json:
        files = [*sorted(PROGRAMS.glob("*.py")), *sorted(EXAMPLES.glob("*.py"))]
        code = {each.name: each.read_text() for each in files}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{self.name}-script"}, "data": code}

    def template(self, rank: str = "metadata.labels['apps.kubernetes.io/pod-index']") -> Json:
        template = super().template(rank)
        template["spec"]["volumes"] = self.volumes("job")
        return template

    def volumes(self, folder: str) -> list[Json]:
        """The code where its checkout would have it, and a folder of the node."""
        roots = {PROGRAMS: "tests/integrations/programs", EXAMPLES: "examples"}
        items = [
            {"key": each.name, "path": f"{at}/{each.name}"} for of, at in roots.items() for each in of.glob("*.py")
        ]
        node = {"path": f"{ON_NODE}/{self.namespace}/{folder}", "type": "Directory"}
        return [
            {"name": "script", "configMap": {"name": f"{self.name}-script", "items": items}},
            {"name": "out", "hostPath": node},
        ]

    @property
    def mounts(self) -> list[Json]:
        return [{"name": "out", "mountPath": THERE}, {"name": "script", "mountPath": CODE}]

    @property
    def program(self) -> str:
        return f"{CODE}/tests/integrations/programs/{self.stack.program}"


def a_job(namespace: str, stack: Stack, words: Mapping[str, str]) -> WatchedJob:
    """Not started yet."""
    told = {"WITNESS": THERE, "WITNESS_PACE": PACE, **words}
    job = WatchedJob(namespace, replicas=stack.world, stack=stack, policy=POLICY, environment=told)
    job.annotations = {**job.annotations, "checkpointheal.dev/ranks": str(stack.ranks)}
    job.container = {"command": [*RUN, "python", job.program], "volumeMounts": job.mounts}
    return job


class Written(NamedTuple):
    """What the ranks of one namespace write: it lies in a folder of each node."""

    namespace: str
    path: str
    nodes: Sequence[str]

    def fetch(self, folder: Path) -> None:
        """All of it, in the order of time: a pod that is replaced may go on elsewhere."""
        files: dict[str, list[bytes]] = {}
        for node in self.nodes:
            for name, content in _files(node, self.path):
                files.setdefault(name, []).append(content)
        for name, parts in files.items():
            whole = b"".join(sorted(_lines(parts), key=_instant)) if name.endswith(".jsonl") else parts[-1]
            (folder / f"{name}.new").write_bytes(whole)
            (folder / f"{name}.new").replace(folder / name)

    def touch(self, name: str) -> None:
        """An empty file for all of them to find."""
        for node in self.nodes:
            docker("exec", node, "touch", f"{self.path}/{name}")


@contextlib.contextmanager
def namespace(of: str) -> Iterator[Written]:
    """With a folder on each node that anybody may write to, whoever a container runs as. Both go."""
    name = f"harmed-{uuid.uuid4().hex[:8]}"
    written = Written(name, f"{ON_NODE}/{name}/{of}", workers())
    for node in written.nodes:
        docker("exec", node, "mkdir", "--parents", "--mode", "777", written.path)
    kubectl("create", "namespace", name)
    try:
        yield written
    finally:
        kubectl("delete", "namespace", name, seconds=PATIENCE)
        for node in written.nodes:
            docker("exec", node, "rm", "-rf", f"{ON_NODE}/{name}")


def _files(node: str, path: str) -> Iterator[tuple[str, bytes]]:
    command = ["docker", "exec", node, "tar", "-C", path, "-c", "."]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    if done.returncode > GROWN:
        raise Refused(f"{' '.join(command)}: {done.stderr.decode()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        for each in archive.getmembers():
            if each.isfile() and (file := archive.extractfile(each)) is not None:
                yield Path(each.name).name, file.read()


def _lines(parts: Sequence[bytes]) -> Iterator[bytes]:
    return (line for part in parts for line in part.splitlines(keepends=True) if line.endswith(b"\n"))


def _instant(line: bytes) -> float:
    return float(json.loads(line)["at"])
