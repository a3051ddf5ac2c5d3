"""A job by the API's objects whose pods have two seats each."""

from builders_api import pod_object
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.seats import pod_name, pod_of, pods_per_replica, seat_name, seat_uid
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.core.annotations import LOCAL_RANKS
from checkpointheal_operator.core.facts import Heard
from checkpointheal_operator.core.identity import RANKS
from checkpointheal_operator.core.reasons import Cause
from checkpointheal_operator.shell.cluster import PODS
from cluster_simulation import ClusterSimulation
from simulation import Pod

SEATS = 2


class Seated(ClusterSimulation):
    """Its members sit in pods of two, in order."""

    def __init__(self, replicas: int, ranks: int = 1) -> None:
        self.lives: dict[int, int] = {}
        super().__init__(replicas, ranks)

    def take(self, heard: Heard) -> None:
        super().take(heard.model_copy(update={"report": heard.report.model_copy(update={"local_ranks": SEATS})}))

    def put_pods(self) -> None:
        """What the cluster knows: of each pod one object, whose annotations say how many seats it has."""
        for ref in [ref for ref in self.cluster.objects if ref.kind == PODS]:
            del self.cluster.objects[ref]
        for member in self.policy.members()[::SEATS]:
            self.cluster.put(PODS, self.pod_object(member))

    def pod_object(self, first: MemberId) -> Json:
        facts, blocks = self.pods[first].facts, pods_per_replica(self.policy.ranks, SEATS)
        replica, rank = divmod(self._ordinal(first), blocks)
        own = {"member": MemberId(replica=replica, rank=rank), "name": pod_name(facts.name), "uid": pod_of(facts.uid)}
        body = pod_object(facts.model_copy(update=own))
        body["metadata"]["annotations"] |= {RANKS: str(self.policy.ranks), LOCAL_RANKS: str(SEATS)}
        return body

    def lose_pod(self, ordinal: int) -> None:
        """With both its seats."""
        self.lives[ordinal] += 1
        for member in [each for each in self.policy.members() if self._ordinal(each) == ordinal]:
            self.replace_pod(member)

    def by_cause(self, cause: Cause) -> list[Heal]:
        return [each for each in self.heals if each.spec.cause == cause]

    def _new_pod(self, member: MemberId) -> Pod:
        ordinal, place = self._ordinal(member), member.replica * self.policy.ranks + member.rank
        uid = f"uid-{ordinal}-{self.lives.setdefault(ordinal, 0)}"
        return Pod(
            member, seat_name(f"trainer-{ordinal}", place % SEATS, SEATS), seat_uid(uid, place % SEATS), self.now
        )

    def _ordinal(self, member: MemberId) -> int:
        return (member.replica * self.policy.ranks + member.rank) // SEATS
