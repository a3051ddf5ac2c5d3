"""Does an older policy select some of the same pods?

Two that healed one pod would order it two epochs. The older one keeps it, whatever the younger one's selector says, so
that nothing which is new can disturb what goes well. Pure; must not know what follows.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pydantic import ValidationError

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.checkpointheal import Selector
from checkpointheal_operator.api.policy import matches


class Overlap(NamedTuple):
    """The older policy's name, and a pod that it selects too."""

    older: str
    pod: str


def overlap(policy: Json, pods: Iterable[Json], policies: Iterable[Json]) -> Overlap | None:
    """The oldest of `policies`, all of one namespace, that takes one of the `pods` which `policy` selects."""
    pods, ours = tuple(pods), _age(policy)
    for name, selector in selectors(sorted((each for each in policies if _age(each) < ours), key=_age)):
        for pod in pods:
            if matches(selector, pod["metadata"].get("labels", {})):
                return Overlap(name, pod["metadata"]["name"])
    return None


def selectors(policies: Iterable[Json]) -> Iterator[tuple[str, Selector]]:
    """By the policy's name; one that cannot be read selects nothing."""
    for each in policies:
        try:
            yield each["metadata"]["name"], Selector.model_validate(each.get("spec", {}).get("selector"))
        except ValidationError:
            continue


def _age(policy: Json) -> tuple[str, str]:
    """Times of the API server are equal within a second: then the name decides."""
    return policy["metadata"].get("creationTimestamp", ""), policy["metadata"]["name"]
