"""Which pod holds each place, of all that claim it?

The operator, both walls and whoever tells a person must mean the same one. Must not know what its agent says.
"""

from collections.abc import Iterable, Mapping

from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.facts import PodFacts


def claim(pod: PodFacts) -> tuple[bool, bool, float, str]:
    """Of several pods that claim a place, the one that comes last in this order holds it.

    A newer one is the successor only where the same hands made both: somebody's copy of a pod, made to look into it
    and with all its labels, would end a healthy member's epoch.
    """
    return not pod.terminating, pod.is_made, pod.seen_since, pod.uid


def holders(pods: Iterable[PodFacts]) -> Mapping[MemberId, PodFacts]:
    """Of those that stay the newest that a controller made, else the newest; where all go, the same of these."""
    return {pod.member: pod for pod in sorted(pods, key=claim)}
