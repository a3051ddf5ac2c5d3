"""What does an operator see of a real cluster with 10,000 pods that opted in and 50,000 that did not?

The pods stand in a real API server and kwok makes them run, on nodes that are none. The operator is a process beside
the cluster: one that is installed there must rest meanwhile, and no webhook be there. What others' pods cost it is told
by the processor time that it has while hundreds of them change, beside what it has while nothing does.
"""

import asyncio
import contextlib
import os
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import builders_cluster
from bench.scale import disturbing
from bench.scale.crowd import CROWDED as CROWD
from bench.scale.crowd import pod, policy
from bench.scale.disturbing import each
from bench.scale.processes import Operator, clean, operator
from bench.table import Row
from builders_cluster import kubeconfig, kubectl
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, PODS, AlreadyThere, Kind, NotThere, Ref
from checkpointheal_operator.shell.gather import OPTED_IN
from checkpointheal_operator.shell.kube import Kube, Selection
from checkpointheal_operator.shell.kubeconfig import from_kubeconfig

Json = dict[str, Any]
NODES = 20
OTHERS = "scale-others"
SYSTEM = "scale-system"
PATIENCE = 3600.0
MARK = {"bench": "scale"}
STAY = [{"operator": "Exists"}]
"""Though a node's heartbeat may be late where kwok has little of a processor."""


def rows(context: str) -> list[Row]:
    """Start, memory, and what others' changes cost."""
    builders_cluster.CONTEXT = context
    with TemporaryDirectory() as folder:
        config = kubeconfig(Path(folder, "config"))
        with subprocess.Popen(_kwok(config), stderr=subprocess.DEVNULL, env=clean()) as kwok:
            try:
                return asyncio.run(_rows(config))
            finally:
                kwok.terminate()


def _kwok(config: Path) -> list[str]:
    only_ours = "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake"
    return [os.environ.get("KWOK", "kwok"), f"--kubeconfig={config}", "--manage-all-nodes=false", only_ours]


async def _rows(config: Path) -> list[Row]:
    access = from_kubeconfig(config)
    async with access.session() as session:
        kube = Kube(session, access.url)
        await _filled(kube)
        settings = {"KUBECONFIG": str(config), "NAMESPACE": SYSTEM, "LEASE": f"scale-{time.time_ns()}"}
        with operator("", **settings) as replica:
            return await _seen(kube, replica)


async def _seen(kube: Kube, replica: Operator) -> list[Row]:
    found = await disturbing.rows(kube, replica, CROWD, OTHERS)
    there = len(kubectl("get", "pods", "-A", f"--selector={OPTED_IN}", "-o", "name").split())
    others = len(kubectl("get", "pods", "-n", OTHERS, "-o", "name").split())
    return [*found, disturbing.held(replica, there, others)]


async def _filled(kube: Kube) -> None:
    """Namespaces, nodes, policies, pods; then until every pod runs."""
    for name in {OTHERS, SYSTEM} | {CROWD.namespace(job) for job in range(CROWD.jobs)}:
        await _make(kube, NAMESPACES, {"metadata": {"name": name, "labels": MARK}})
    for number in range(NODES):
        await _make(kube, NODES_KIND, _node(number))
    await _until_accounts()
    await each(range(CROWD.jobs), lambda job: _make(kube, CHECKPOINTHEALS, policy(CROWD, job)))
    if not await _has_pod(kube, f"other-{CROWD.others - 1}"):  # the last: an earlier run may have filled it
        await each(range(CROWD.pods), lambda number: _make(kube, PODS, _opted_in(number)))
        await each(range(CROWD.others), lambda number: _make(kube, PODS, _other(number)))
    await _until_running(kube)


async def _until_accounts() -> None:
    """The API server admits no pod before its namespace has its service account."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = kubectl("get", "serviceaccounts", "-A", "--field-selector=metadata.name=default", "-o", "name")
        if len(answer.split()) >= len(kubectl("get", "namespaces", "-o", "name").split()):
            return
        await asyncio.sleep(1)
    raise TimeoutError("namespaces get no service accounts")


async def _until_running(kube: Kube) -> None:
    deadline = time.monotonic() + PATIENCE
    pending = Selection(PODS, fields="status.phase=Pending")
    while time.monotonic() < deadline:
        if not (await kube.page(pending)).items:
            return
        await asyncio.sleep(5)
    raise TimeoutError("kwok does not make every pod run")


async def _make(kube: Kube, kind: Kind, body: Json) -> None:
    """What is there already stays."""
    with contextlib.suppress(AlreadyThere):
        await kube.create(kind, body)


async def _has_pod(kube: Kube, name: str) -> bool:
    """Of the others'."""
    try:
        await kube.get(Ref(PODS, OTHERS, name))
    except NotThere:
        return False
    return True


def _node(number: int) -> Json:
    room = {"cpu": "4k", "memory": "8Ti", "pods": "10k"}
    labels = MARK | {"type": "kwok"}
    metadata = {"name": f"kwok-{number}", "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}}
    taints = [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]
    return {"metadata": metadata, "spec": {"taints": taints}, "status": {"allocatable": room, "capacity": room}}


def _opted_in(number: int) -> Json:
    """As the webhook makes them; what the API server says itself is left to it."""
    made = pod(CROWD, number)
    kept = {each: made["metadata"][each] for each in ("name", "namespace", "labels", "annotations")}
    spec = made["spec"] | {"nodeName": f"kwok-{number % NODES}", "tolerations": STAY}
    return {"metadata": kept, "spec": spec}


def _other(number: int) -> Json:
    containers = [{"name": "main", "image": "none", "env": [{"name": "WHO", "value": str(number)}]}]
    metadata = {"name": f"other-{number}", "namespace": OTHERS, "labels": {"app": f"app-{number % 100}"}}
    return {
        "metadata": metadata,
        "spec": {"containers": containers, "nodeName": f"kwok-{number % NODES}", "tolerations": STAY},
    }


NAMESPACES = Kind("v1", "Namespace", "namespaces")
NODES_KIND = Kind("v1", "Node", "nodes")
