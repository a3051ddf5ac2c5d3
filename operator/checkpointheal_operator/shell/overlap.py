"""Does an older policy select some of the same pods?

Two that healed one pod would order it two epochs. The older one keeps it, whatever the younger one's selector says, so
that nothing which is new can disturb what goes well. Pure; must not know what follows.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pydantic import ValidationError

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.policy import matches
from checkpointheal_operator.api.spec import Selector


class Overlap(NamedTuple):
    """The older policy's name, and a pod that it selects too."""

    older: str
    pod: str


def overlap(policy: Json, pods: Iterable[Json], policies: Iterable[Json]) -> Overlap | None:
    """The oldest of `policies`, all of one namespace, that takes one of the `pods` which `policy` selects."""
    pods, ours = tuple(pods), next((selector for _, selector in selectors([policy])), Selector())
    older = sorted((each for each in policies if _age(each) < _age(policy)), key=_age)
    for name, selector in selectors(older):
        for pod in () if _are_apart(ours, selector) else pods:
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


def _are_apart(one: Selector, other: Selector) -> bool:
    """No label has two values: of a hundred policies of one namespace, pods need not be asked about most."""
    return any(other.match_labels.get(key, value) != value for key, value in one.match_labels.items())


def _age(policy: Json) -> tuple[str, str]:
    """Times of the API server are equal within a second: then the name decides."""
    return policy["metadata"].get("creationTimestamp", ""), policy["metadata"]["name"]
