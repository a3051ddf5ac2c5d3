"""A job of pods to which one bad thing after the other is done, and what must be true of it and its cluster at the end.

Must not know what is done: `cluster_blows` does it.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from builders_cluster import STEPS, SYSTEM, Job, Json, Refused, found, kubectl, one, until
from builders_jobs import restarts
from on_nodes import AGENT, Where, left_of

T = TypeVar("T")

SOON_SECONDS = 45.0
"""For whoever is to be hit to be there: most of them were hit a moment ago."""
PATIENCE = 600.0
"""Longer than all deadlines of a heal together, and than the longest pause before the kubelet starts an agent again."""
STEPS_A_FAULT = 5
KEPT = ("secrets", "configmaps", "leases", "services", "deployments", "serviceaccounts")
POLICY = {"attempts": {"limit": 20, "crashesAtOneStep": 1000}, "historyLimit": 1000}
"""Faults are many and befall one step again and again: nobody's memory is to be suspected for that."""
RUN = ["checkpointheal", "run", "--warm", "--restarts", "1000", "--backoff", "1", "--"]
HELMS = "sh.helm.release"
HEALED = ("Peer", "OwnMemory")


def a_job(namespace: str, faults: int) -> Job:
    """As many slow steps as so many faults need; what is left of them at the end is done at once."""
    pace = {"PACE": "4", "CHECKPOINTHEAL_RESTORE_BUDGET": str(PATIENCE)}
    job = Job(namespace, steps=STEPS + STEPS_A_FAULT * faults, policy=POLICY, environment=pace)
    (container,) = job.template()["spec"]["containers"]
    trainer = container["command"][container["command"].index("--") + 1 :]
    job.container = {"command": [*RUN, *trainer]}
    return job


class BadCluster:
    """One job under attack."""

    def __init__(self, job: Job) -> None:
        self.job, self.world = job, job.replicas
        self.nodes_turn = threading.Lock()
        """One node at a time: with both away there is no cluster."""
        self.uids: set[str] = set()
        self.slipped: list[str] = []
        self._ended: dict[str, set[str]] = {}
        self._kept = _kept()

    def where(self, rank: int) -> Where:
        """Waits a little, and raises Refused where no pod of this rank runs."""
        return _soon(lambda: self._running(rank))

    def ended(self, uid: str, container: str | None) -> None:
        """This pod's agent was ended, and the kubelet starts it again: once, though its node went before it could."""
        self._ended.setdefault(uid, set()).update({container} if container else ())

    def on_node(self, node: str) -> Iterator[Where]:
        """Pods of the job there."""
        for rank in range(self.world):
            try:
                if (where := self._running(rank)).node == node:
                    yield where
            except Refused:
                continue

    def step(self, rank: int) -> int:
        """The last that it completed, in this life of its pod."""
        return max((each["step"] for each in self._told(rank) if each["event"] == "step"), default=0)

    def pid(self, rank: int) -> str:
        """Of its trainer. Waits a little, and raises Refused where none has told of itself."""
        return _soon(lambda: self._telling(rank))

    def trains_on(self, updates: int = 3) -> None:
        """Every rank computes this many updates from now on: with anyone missing, nobody gets further than one."""
        since = time.time()

        def all_of_them() -> bool:
            self._make_anew()
            return all(
                sum(each["event"] == "step" and each["at"] > since for each in self._told(rank)) >= updates
                for rank in range(self.world)
            )

        until(all_of_them, f"{updates} more updates on every rank", PATIENCE, seen=self.job.look)

    def comes_to_rest(self) -> list[str]:
        """What is wrong with who is left, once every rank is through."""
        until(lambda: all(_is_over(each) for each in self.job.heals), "every heal has its verdict", seen=self.job.look)
        counts = {
            pod["metadata"]["name"]: (restarts(pod, AGENT), len(self._ended.get(pod["metadata"]["uid"], ())))
            for pod in found("pods", self.job.namespace, f"app={self.job.name}")
        }
        return [
            f"{name}: its agent was ended {ended} times and started again {count}"
            for name, (count, ended) in counts.items()
            if count != ended
        ]

    def left_over(self, nodes: list[str]) -> list[str]:
        """What stays once the namespace is deleted."""
        kubectl("delete", "namespace", self.job.namespace, "--wait=false")
        until(lambda: one("namespace", "default", self.job.namespace) is None, "the namespace is gone")
        until(lambda: not [left for node in nodes for left in left_of(node, self.uids)], "the nodes are clean", 120)
        return sorted(_kept() ^ self._kept)

    def _running(self, rank: int) -> Where:
        pod = one("pod", self.job.namespace, self.job.pod_of(rank))
        if pod is None or not pod["status"].get("podIP") or pod["metadata"].get("deletionTimestamp"):
            raise Refused(f"no pod of rank {rank} runs")
        self.uids.add(pod["metadata"]["uid"])
        return Where(pod["metadata"]["name"], pod["metadata"]["uid"], pod["spec"]["nodeName"], pod["status"]["podIP"])

    def _telling(self, rank: int) -> str:
        if not (told := self._told(rank)):
            raise Refused(f"no trainer of rank {rank} has begun")
        return str(told[-1]["pid"])

    def _told(self, rank: int) -> list[Json]:
        try:
            text = self.job.run(rank, "tail", "-n", "8", f"/out/progress-{rank}.jsonl")
        except Refused:
            return []
        return [json.loads(each) for each in text.splitlines()]

    def _make_anew(self) -> None:
        """A pod that was made while the webhook could not be asked: its Event says to delete it."""
        for pod in found("pods", self.job.namespace, f"app={self.job.name}"):
            agents = [each["name"] for each in pod["spec"].get("initContainers", [])]
            if AGENT not in agents and "deletionTimestamp" not in pod["metadata"]:
                self.slipped.append(pod["metadata"]["name"])
                kubectl("delete", "pod", "-n", self.job.namespace, pod["metadata"]["name"], "--wait=false")


def _soon(ask: Callable[[], T]) -> T:
    """What it answers, as soon as it is not refused."""
    deadline = time.monotonic() + SOON_SECONDS
    while True:
        try:
            return ask()
        except Refused:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def not_healed(job: Job) -> list[str]:
    """Each heal that ended on another rung than memory's. One that has none gave way to a newer request."""
    return [
        f"{each['spec']['recipient']['pod']} at {each['spec']['openedAt']}: {_verdict(each)}"
        for each in job.heals
        if each["status"].get("rung", HEALED[0]) not in HEALED
    ]


def _is_over(heal: Json) -> bool:
    return bool(heal.get("status", {}).get("concludedAt"))


def _verdict(heal: Json) -> str:
    conditions = heal["status"].get("conditions", [])
    said = [f"{each['reason']}: {each['message']}" for each in conditions if each["type"] == "Healed"]
    return " ".join([heal["status"].get("rung", "no rung"), *said])


def _kept() -> set[str]:
    """What the installation has of its own, besides pods, what counts them, and Helm's records."""
    names = {f"{kind} {each['metadata']['name']}" for kind in KEPT for each in found(kind, SYSTEM)}
    return {each for each in names if HELMS not in each}
