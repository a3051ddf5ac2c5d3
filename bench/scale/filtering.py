"""Does a real API server keep from the operator what did not opt in?

The operator's own watch of pods, on a cluster, while pods come, change and go that no node can take: half of them opted
in. Nothing is written but those pods, in a namespace of their own.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import builders_cluster
from bench.table import Row
from builders_cluster import apply, kubeconfig, kubectl
from checkpointheal_operator.core.injection_settings import INJECT
from checkpointheal_operator.shell.cluster import PODS
from checkpointheal_operator.shell.gather import OPTED_IN
from checkpointheal_operator.shell.kube import Kube, Selection
from checkpointheal_operator.shell.kubeconfig import from_kubeconfig

Json = dict[str, Any]
EACH = 20
CHANGES = 3
SETTLES = 5.0


def rows(context: str) -> list[Row]:
    """Events of pods that opted in, and of others."""
    builders_cluster.CONTEXT = context
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    config = kubeconfig(Path(f"/tmp/{namespace}.kubeconfig"))
    kubectl("create", "namespace", namespace)
    try:
        seen = asyncio.run(_watched(config, namespace))
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")
        config.unlink()
    return [
        Row("events of pods that opted in", seen["in"], "", None, f"{EACH} made, changed and deleted"),
        Row("events of pods that did not", seen["out"], "", 0.0, f"as many, in the same namespace {namespace}"),
    ]


async def _watched(config: Path, namespace: str) -> Counter[str]:
    access = from_kubeconfig(config)
    seen: Counter[str] = Counter()
    async with access.session() as session:
        kube = Kube(session, access.url)
        selection = Selection(PODS, OPTED_IN)
        page = await kube.page(selection)

        async def watch() -> None:
            async for event in kube.events(selection, page.version):
                metadata = event["object"]["metadata"]
                if metadata.get("namespace") == namespace:
                    seen["in" if INJECT in metadata.get("labels", {}) else "out"] += 1

        watching = asyncio.create_task(watch())
        await asyncio.to_thread(_disturb, namespace)
        await asyncio.sleep(SETTLES)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return seen


def _disturb(namespace: str) -> None:
    """Make, change and delete."""
    apply(namespace, *_pods())
    for number in range(CHANGES):
        kubectl("annotate", "pods", "--all", "-n", namespace, "--overwrite", f"bench={number}")
    kubectl("delete", "pods", "--all", "-n", namespace, "--wait=false")
    time.sleep(1)


def _pods() -> Iterator[Json]:
    nowhere = {"nodeSelector": {"checkpointheal.dev/bench": "nowhere"}, "terminationGracePeriodSeconds": 0}
    spec = nowhere | {"containers": [{"name": "none", "image": "none"}]}
    for number in range(2 * EACH):
        labels = {"app": "bench"} | ({INJECT: "true"} if number % 2 else {})
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-{number}", "labels": labels}, "spec": spec}
