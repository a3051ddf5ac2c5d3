"""The operator's process and a job of its, in one event loop: so that its time may be virtual.

Left out are kopf, whose thread knows no virtual time (its policies come by a watch of ours), and HTTP between agents
and gateway: reports go into the hub.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import AgentReport
from checkpointheal_operator.gateway.hub import NO_ORDERS
from checkpointheal_operator.shell.access import Access
from checkpointheal_operator.shell.cluster import PODS, Kind, Ref
from checkpointheal_operator.shell.kube import Kube
from checkpointheal_operator.shell.replica import Replica
from checkpointheal_operator.shell.settings import OperatorSettings
from checkpointheal_operator.shell.watching import Watch
from fake_api import FakeApi, WatchedCluster
from replicas import HttpSimulation

URL = "http://server"


class PoliciesWatched:
    """In kopf's place."""

    def __init__(self, _access: Access, watches: Mapping[Kind, Watch]) -> None:
        self._watches = watches

    async def run(self) -> None:
        await asyncio.gather(*(watch.run() for watch in self._watches.values()))


class Process:
    """The operator's process, and the kubelet that starts it again."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session, self.restarts = session, 0
        self._begin()

    @property
    def replica(self) -> Replica:
        return self._replica

    def look_after(self) -> None:
        if self._task.done() or self._replica.is_stuck():
            self.restarts += 1
            self._task.cancel()
            self._begin()

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _begin(self) -> None:
        settings = OperatorSettings(
            pod_name="operator-0",
            pod_ip="127.0.0.1",
            namespace="system",
            host="127.0.0.1",
            gateway_port=0,
            leader_port=0,
            health_port=0,
        )
        self._replica = Replica(settings, Access(URL, lambda: ""), Kube(self._session, URL))
        self._task = asyncio.create_task(self._replica.run())


class NearJob(HttpSimulation):
    """The same job in the operator's own loop. Its pods may be gone from the API though they live on."""

    def __init__(self, cluster: WatchedCluster, api: FakeApi, process: Process) -> None:
        self.cluster, self.api, self._process = cluster, api, process
        self.unseen: set[str] = set()
        super().__init__(self, 3, 1)  # type: ignore[arg-type]

    def started(self) -> Any:
        return self

    def call(self, do: Callable[[], Any]) -> Any:
        return do()

    def exchange(self, token: str, method: str, path: str, body: str | None) -> str | None:
        """Nobody answers where nobody leads."""
        operator = self._process.replica.operator
        if operator is None:
            return None
        if method == "GET":
            return operator.hub._orders.get(token, NO_ORDERS).model_dump_json()
        operator.hub.take(AgentReport.model_validate_json(body or ""))
        return ""

    def delete_unseen(self, member: MemberId, *, told: bool) -> None:
        """The pod is gone from the API, and lives on where nobody can stop it."""
        pod = self.pods[member]
        self.unseen.add(pod.uid)
        ref = Ref(PODS, self.where, pod.name)
        if told:
            self.cluster.remove(ref)
        else:
            self.cluster.swallow(ref)

    def _set_pods(self) -> None:
        pods = self.pods
        self.pods = {member: pod for member, pod in pods.items() if pod.uid not in self.unseen}
        super()._set_pods()
        self.pods = pods
