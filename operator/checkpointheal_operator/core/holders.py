"""Which pod holds each place, of all that claim it?

The operator, both walls and whoever tells a person must mean the same one. Must not know what its agent says.
"""

from collections.abc import Iterable, Mapping

from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.facts import PodFacts


def claim(pod: PodFacts) -> tuple[bool, float, str]:
    """Of several pods that claim a place, the one that comes last in this order holds it."""
    return not pod.terminating, pod.seen_since, pod.uid


def holders(pods: Iterable[PodFacts]) -> Mapping[MemberId, PodFacts]:
    """The newest that is not on its way out; where all are, the newest."""
    return {pod.member: pod for pod in sorted(pods, key=claim)}
