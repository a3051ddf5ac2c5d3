"""Heals of real pods: a StatefulSet of two on a kind cluster, its trainer killed or its pod deleted again and again.

How long `restore()` took is told by the trainer, as on processes. When the operator decided is read in its log, whose
times are of the same machine's clock: from the trainer's `attach()`, before its agent has even heard of it, until the
heal was opened and, where there was a donor, from there until it was assigned.
"""

import json
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import builders_cluster
from bench.heal.figures import MODEL, Sample, rows
from bench.heal.told import seconds
from bench.samples import percentile
from bench.table import Row
from builders_cluster import SYSTEM, Job, found, kubectl, until

Json = dict[str, Any]
REPLICAS, VICTIM, STEPS_BETWEEN, DELETED_EVERY = 2, 1, 3, 3
OPERATORS = "app.kubernetes.io/component=operator"


@dataclass
class BenchJob(Job):
    """The bench's own script in place of the tests'."""

    def script(self) -> Json:
        return super().script() | {"data": {"train.py": (Path(__file__).parent / "trainer.py").read_text()}}


def figures(context: str, count: int) -> list[Row]:
    """Of so many heals, in a namespace of their own that is deleted afterwards."""
    builders_cluster.CONTEXT = context
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", namespace)
    try:
        job = BenchJob(
            namespace,
            replicas=REPLICAS,
            steps=1_000_000,
            model=MODEL,
            annotations={"checkpointheal.dev/arena-size": "256Mi"},
            environment={"PACE": "0.1"},
        ).start()
        job.until_step(STEPS_BETWEEN)
        began = time.time()
        samples = [_heal(job, number) for number in range(count)]
        return [*rows(samples), *_decided(job, began), *_written()]
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")


def _heal(job: Job, number: int) -> Sample:
    step, before, harmed = job.step(0), _healed(job), time.time()
    if number % DELETED_EVERY == DELETED_EVERY - 1:
        job.delete_pods(VICTIM)
    else:
        job.kill(VICTIM)
    until(lambda: _healed(job).keys() - before, f"heal {number}", seen=job.look)
    until(lambda: all(_is_past(job, rank, step, harmed) for rank in range(REPLICAS)), "all past it", seen=job.look)
    lines = job.run(VICTIM, "cat", f"/out/progress-{VICTIM}.jsonl").splitlines()
    rung = max(_healed(job).values(), key=lambda each: each["metadata"]["creationTimestamp"])["status"]["rung"]
    past = max(_first(job, rank, step, harmed) for rank in range(REPLICAS)) - harmed
    sample = Sample(rung, seconds(lines, harmed), past)
    print(f"  {number + 1}: {sample.rung} {sample.restored:.2f} s", file=sys.stderr, flush=True)
    return sample


def _healed(job: Job) -> dict[str, Json]:
    """By name, for their number stands still once the oldest are dropped."""
    return {
        each["metadata"]["name"]: each
        for each in job.heals
        if each.get("status", {}).get("concludedAt") and each["spec"]["recipient"]["pod"] == job.pod_of(VICTIM)
    }


def _is_past(job: Job, rank: int, step: int, since: float) -> bool:
    return any(True for _ in _steps(job, rank, step, since))


def _first(job: Job, rank: int, step: int, since: float) -> float:
    return min(_steps(job, rank, step, since))


def _steps(job: Job, rank: int, step: int, since: float) -> Iterator[float]:
    said = job.events(rank)
    return (each["at"] for each in said if each["event"] == "step" and each["at"] > since and each["step"] > step)


def _decided(job: Job, since: float) -> list[Row]:
    """By the operators' log."""
    told = sorted(
        (line for line in _log(since) if line.get("namespace") == job.namespace), key=lambda each: each["time"]
    )
    opened = {each["heal"]: _at(each) for each in told if each["message"].startswith("OpenHeal")}
    assigned = {each["heal"]: _at(each) for each in told if each["message"].startswith("Assign")}
    gaps = [assigned[heal] - at for heal, at in opened.items() if heal in assigned]
    if not gaps:
        return []
    return [
        Row("heal opened to donor assigned, by the log: p50", percentile(gaps, 50), "s", None, f"{len(gaps)} heals")
    ]


def _log(since: float) -> Iterator[Json]:
    stamp = datetime.fromtimestamp(since).astimezone().isoformat()
    for line in kubectl("logs", "-n", SYSTEM, "-l", OPERATORS, "--tail=-1", f"--since-time={stamp}").splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def _at(line: Json) -> float:
    return datetime.fromisoformat(line["time"]).timestamp()


def _written() -> list[Row]:
    """By the operators' metrics, since their start: what they wrote of heals and Events, by heals concluded."""
    seen: dict[str, float] = {}
    for pod in found("pods", SYSTEM, OPERATORS):
        path = f"/api/v1/namespaces/{SYSTEM}/pods/{pod['metadata']['name']}:8080/proxy/metrics"
        for line in kubectl("get", "--raw", path).splitlines():
            series, _, value = line.rpartition(" ")
            if not line.startswith("#"):
                seen[series] = seen.get(series, 0.0) + float(value)
    writes = sum(v for s, v in seen.items() if s.startswith("checkpointheal_api_writes_total") and _is_a_heals(s))
    heals = sum(v for s, v in seen.items() if s.startswith("checkpointheal_heals_total"))
    return [Row("API writes a heal, create to Event", writes / heals, "", 4.0, f"{heals:.0f} heals")] if heals else []


def _is_a_heals(series: str) -> bool:
    """History that is dropped is not a heal's own write."""
    return ('kind="Heal"' in series or 'kind="Event"' in series) and 'verb="delete"' not in series
