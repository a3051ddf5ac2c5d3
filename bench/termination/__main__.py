"""What does the agent add to the end of a Job? From the trainer's last word to Complete, with an agent and without.

`make bench-termination N=20` on a cluster that `make cluster` made. Both Jobs of a pair run side by side, so that what
disturbs one disturbs the other.
"""

import statistics
import sys
import time
import uuid

from bench.table import Row, show
from builders_cluster import IMAGE, Json, apply, found, kubectl, one, until
from builders_raw import Api, api_server

ARENA = "64Mi"
LAST_WORD = "import time; time.sleep(8); print(time.time(), flush=True)"
"""Long enough for the agent to be at work when it is told to end."""
LOOK_EVERY = 0.02
PATIENCE = 120.0
AT_MOST = 1.0
AGENT, PLAIN = "agent", "plain"


def job(name: str, *, agent: bool) -> Json:
    """One completion."""
    container = {
        "name": "trainer",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", LAST_WORD],
    }
    metadata = {
        "labels": {"checkpointheal.dev/inject": "true"} if agent else {},
        "annotations": {"checkpointheal.dev/arena-size": ARENA},
    }
    pod = {"restartPolicy": "Never", "containers": [container]}
    spec = {
        "completionMode": "Indexed",
        "completions": 1,
        "parallelism": 1,
        "template": {"metadata": metadata, "spec": pod},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def pair(api: Api, namespace: str, number: int) -> tuple[float, float]:
    """Seconds from the last word to Complete, with an agent and without."""
    names = {kind: f"{kind}-{number}" for kind in (AGENT, PLAIN)}
    apply(namespace, *(job(name, agent=kind == AGENT) for kind, name in names.items()))
    seen: dict[str, float] = {}
    deadline = time.monotonic() + PATIENCE
    while len(seen) < len(names):
        if time.monotonic() > deadline:
            raise TimeoutError(kubectl("get", "jobs,pods", "-n", namespace))
        for kind, name in names.items():
            if kind not in seen and is_complete(api, namespace, name):
                seen[kind] = time.time()
        time.sleep(LOOK_EVERY)
    return (
        seen[AGENT] - last_word(namespace, names[AGENT], injected=True),
        seen[PLAIN] - last_word(namespace, names[PLAIN], injected=False),
    )


def is_complete(api: Api, namespace: str, name: str) -> bool:
    """As soon as the API server says so."""
    status = api.ask("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}").body.get("status", {})
    return any((each["type"], each["status"]) == ("Complete", "True") for each in status.get("conditions", []))


def last_word(namespace: str, name: str, *, injected: bool) -> float:
    """When the trainer was through, in seconds since 1970: nodes of kind share the machine's clock."""
    (pod,) = found("pods", namespace, f"batch.kubernetes.io/job-name={name}")
    if bool(pod["spec"].get("initContainers")) != injected:
        raise RuntimeError(f"{name} was to be {'injected' if injected else 'left alone'}")
    return float(kubectl("logs", "-n", namespace, pod["metadata"]["name"], "-c", "trainer").split()[-1])


def measure(api: Api, namespace: str, pairs: int) -> list[Row]:
    """Medians; what counts is the median of the differences."""
    found = [pair(api, namespace, number) for number in range(pairs)]
    note = f"of {pairs} pairs, {min(a - b for a, b in found):+.2f} to {max(a - b for a, b in found):+.2f}"
    return [
        Row("added by the agent", statistics.median(a - b for a, b in found), "s", AT_MOST, note),
        Row("with an agent", statistics.median(a for a, _ in found), "s"),
        Row("without", statistics.median(b for _, b in found), "s"),
    ]


def main(pairs: int) -> int:
    """In a namespace of its own."""
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", namespace)
    try:
        until(lambda: one("serviceaccount", namespace, "default"), "the namespace has its account")
        with api_server() as api:
            measured = measure(api, namespace, pairs)
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")
    print(show("termination: from a trainer's last word to its Job's completion", measured))
    return 0 if all(row.is_kept for row in measured) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 20))
