"""What stands in the API server about one job? The only reader.

Reading and understanding are apart: what was read goes to `objects`. Must not know what it is read for.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from checkpointheal.contract.seats import pod_of
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.api.policy import matches
from checkpointheal_operator.core.annotations import PREFIX
from checkpointheal_operator.core.injection_settings import INJECT
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, HEALS, PODS, Cluster, Ref
from checkpointheal_operator.shell.objects import JobObjects, KnownHeal, KnownPod, known_heal, known_pod, owned
from checkpointheal_operator.shell.overlap import overlap
from checkpointheal_operator.shell.readings import Readings

OPTED_IN = f"{INJECT}=true"
"""Every other pod stays unseen: the API server filters."""
POLICY_LABEL = PREFIX + "policy"
"""Borne by each Heal."""
LONGEST_LABEL = 63
"""Characters of a label's value; a name may have four times as many."""


def policy_label(policy: str) -> str:
    """How the policy of that name is called by its heals' label: a longer name is cut, and its hash tells it apart."""
    if len(policy) <= LONGEST_LABEL:
        return policy
    digest = sha256(policy.encode()).hexdigest()[:12]
    return f"{policy[: LONGEST_LABEL - 1 - len(digest)]}-{digest}"


@dataclass(frozen=True)
class Reader:
    """One job's. What was read of an object is kept while that object is."""

    policies: Readings[CheckpointHeal] = field(default_factory=lambda: Readings(CheckpointHeal.model_validate))
    heals: Readings[KnownHeal | None] = field(default_factory=lambda: Readings(known_heal))
    pods: Readings[KnownPod] = field(default_factory=lambda: Readings(known_pod))

    async def read(self, cluster: Cluster, namespace: str, name: str) -> JobObjects:
        """All objects of the job under that policy. Raises ClusterError, NotThere where there is no such policy."""
        found = await cluster.get(Ref(CHECKPOINTHEALS, namespace, name))
        (policy,) = self.policies.of((found,))
        heals = self.heals.of(owned(policy, await cluster.list(HEALS, namespace)))
        there = await cluster.list(PODS, namespace, OPTED_IN)
        pods = selected(policy, there)
        return JobObjects(
            policy,
            {each.object.metadata.name: each for each in heals if each is not None},
            tuple(self.pods.of(pods)),
            tuple(map(known_pod, strays(policy, pods, there))),
            overlap(found, pods, await cluster.list(CHECKPOINTHEALS, namespace)),
        )


def strays(policy: CheckpointHeal, pods: Iterable[Json], there: Iterable[Json]) -> tuple[Json, ...]:
    """Those of the latest epoch's that are `there`, and not among the `pods` which the policy is for."""
    known = {pod_of(each.pod_uid) for each in policy.status.epoch.members} if policy.status.epoch else set[str]()
    known -= {pod["metadata"]["uid"] for pod in pods}
    return tuple(pod for pod in there if pod["metadata"]["uid"] in known) if known else ()


def selected(policy: CheckpointHeal, pods: Iterable[Json]) -> tuple[Json, ...]:
    """The pods that the policy is for."""
    return tuple(pod for pod in pods if matches(policy.spec.selector, pod["metadata"].get("labels", {})))
