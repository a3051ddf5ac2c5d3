"""What stands in the API server about one job? The only reader.

Reading and understanding are apart: what was read goes to `objects`. Must not know what it is read for.
"""

from collections.abc import Iterable

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.api.policy import matches
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, HEALS, PODS, Cluster, Ref
from checkpointheal_operator.shell.objects import JobObjects, heals_of
from checkpointheal_operator.shell.overlap import overlap

INJECT = "checkpointheal.dev/inject"
OPTED_IN = f"{INJECT}=true"
"""Every other pod stays unseen: the API server filters."""
POLICY_LABEL = "checkpointheal.dev/policy"
"""Borne by each Heal."""


async def read_job(cluster: Cluster, namespace: str, name: str) -> JobObjects:
    """All objects of the job under that policy. Raises ClusterError, NotThere where there is no such policy."""
    found = await cluster.get(Ref(CHECKPOINTHEALS, namespace, name))
    policy = CheckpointHeal.model_validate(found)
    heals = heals_of(policy, await cluster.list(HEALS, namespace))
    pods = selected(policy, await cluster.list(PODS, namespace, OPTED_IN))
    return JobObjects(policy, heals, pods, overlap(found, pods, await cluster.list(CHECKPOINTHEALS, namespace)))


def selected(policy: CheckpointHeal, pods: Iterable[Json]) -> tuple[Json, ...]:
    """The pods that the policy is for."""
    return tuple(pod for pod in pods if matches(policy.spec.selector, pod["metadata"].get("labels", {})))
