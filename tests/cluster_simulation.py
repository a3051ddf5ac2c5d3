"""The whole job on one virtual clock, whose operator's memory is the API."""

import asyncio

from builders_api import JOB, WHERE, a_policy, set_pods
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.core import decisions as core
from checkpointheal_operator.core.decisions import Nothing, Wait
from checkpointheal_operator.core.hearing import remember
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, HEALS, ClusterError
from checkpointheal_operator.shell.look import Surroundings, look
from checkpointheal_operator.shell.objects import Listening
from checkpointheal_operator.shell.switchboard import NO_POLICY, orders_of
from fake_cluster import FakeCluster, Killed
from simulation import Simulation

LOOKS_AT_ONCE = 20


class ClusterSimulation(Simulation):
    """The same job, but the operator's memory is the API. Each failed look is followed by another."""

    def __init__(self, replicas: int = 3, ranks: int = 1, **spec: object) -> None:
        super().__init__(replicas, ranks)
        self.cluster = FakeCluster()
        self.cluster.put(CHECKPOINTHEALS, a_policy(layout={"replicas": replicas, "ranks": ranks}, **spec))
        self.leader_since = self.now
        self.errors: list[ClusterError] = []
        self.owed: dict[str, Json] = {}
        self.unlisted: frozenset[str] = frozenset()
        """Pods that speak though no list holds them."""

    def look(self) -> list[core.Decision]:
        self.put_pods()
        made: list[core.Decision] = []
        for _ in range(LOOKS_AT_ONCE):
            try:
                looked = asyncio.run(self._look())
            except Killed:
                self.restart_operator()
                return made
            except ClusterError as error:
                self.errors.append(error)
                continue
            self.view = looked.view
            self.heard = {each.report.pod_uid: each for each in remember(looked.view, self.now).heard}
            made += looked.decisions
            if looked.untold is not None:
                self.errors.append(looked.untold)
                continue
            if isinstance(made[-1], Nothing | Wait):
                break
        if not made:
            return made
        standing = orders_of(looked)
        self.ordered = {pod.uid: standing.get(pod.uid, NO_POLICY) for pod in self.pods.values()}
        self.decisions += made
        return made

    def put_pods(self) -> None:
        set_pods(self.cluster, *(pod.facts for pod in self.pods.values()), job=self.job)

    async def _look(self):
        around = Surroundings(self.cluster, lambda: self.now, owed=self.owed)
        listening = Listening(self.leader_since, tuple(self.heard.values()), self.unlisted)
        return await look(around, (WHERE, JOB), listening)

    def restart_operator(self, *, with_records: bool = True) -> None:
        super().restart_operator(with_records=with_records)
        self.leader_since = self.now
        self.owed = {}

    @property
    def heals(self) -> list[Heal]:
        return [Heal.model_validate(each) for each in self.cluster.all(HEALS)]
