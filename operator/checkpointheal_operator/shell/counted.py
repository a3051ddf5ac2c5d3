"""How often was the API written or an agent certified, and what became of it? Doors that count.

Must not know what is written.
"""

from collections.abc import Awaitable
from typing import TypeVar

from checkpointheal.contract.trust import Issued
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.gateway.authority import Refused
from checkpointheal_operator.gateway.caller import Caller, Certify
from checkpointheal_operator.measures.operating import OperatorMetrics
from checkpointheal_operator.shell.cluster import Cluster, ClusterError, Kind, Ref

Answer = TypeVar("Answer")


class Counted:
    """Implements `Cluster`. Every method raises ClusterError."""

    def __init__(self, cluster: Cluster, metrics: OperatorMetrics) -> None:
        self._cluster, self._metrics = cluster, metrics

    async def get(self, ref: Ref) -> Json:
        """One object."""
        return await self._cluster.get(ref)

    async def list(self, kind: Kind, namespace: str, labels: str = "") -> list[Json]:
        """All objects of a namespace that the labels pick."""
        return await self._cluster.list(kind, namespace, labels)

    async def create(self, kind: Kind, body: Json) -> Json:
        """A new object, as it was stored."""
        return await self._count("create", kind, self._cluster.create(kind, body))

    async def patch(self, ref: Ref, body: Json, *, status: bool = False) -> Json:
        """A merge patch."""
        verb = "patch status" if status else "patch"
        return await self._count(verb, ref.kind, self._cluster.patch(ref, body, status=status))

    async def delete(self, ref: Ref, uid: str) -> None:
        """That life of the name."""
        await self._count("delete", ref.kind, self._cluster.delete(ref, uid))

    async def _count(self, verb: str, kind: Kind, writing: Awaitable[Answer]) -> Answer:
        try:
            answer = await writing
        except ClusterError as error:
            self._metrics.api_wrote(verb, kind.kind, error.reason)
            raise
        self._metrics.api_wrote(verb, kind.kind)
        return answer


def counting_certify(certify: Certify, metrics: OperatorMetrics) -> Certify:
    """The same answers, counted: `issued`, or the reason of the refusal."""

    def counted(caller: Caller, request: str) -> Issued | Refused:
        answer = certify(caller, request)
        metrics.certified(answer.reason if isinstance(answer, Refused) else "issued")
        return answer

    return counted
