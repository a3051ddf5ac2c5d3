"""What was read of one or all namespaces, and which objects of it belong together?

Pure: from the API's JSON to our objects; what cannot be read is told, not dropped. Must not know how it was read.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, TypeVar

from pydantic import ValidationError

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.api.policy import matches
from checkpointheal_operator.api.spec import Selector
from checkpointheal_operator.plugin.trouble import Trouble
from checkpointheal_operator.shell.cluster import HEALS, Kind
from checkpointheal_operator.shell.mirror import Key, key_of, uid_of
from checkpointheal_operator.shell.overlap import selectors

Model = TypeVar("Model", CheckpointHeal, Heal)
Label = tuple[str, str]
WRITE_ANEW = "write the object anew, or use the operator's own version of this"


class Unread(NamedTuple):
    """A policy that cannot be read, as one of another version. No selector: nobody can tell what it selects."""

    namespace: str
    name: str
    selector: Selector | None

    def may_take(self, pod: Json) -> bool:
        """Whether it selects the pod, as far as can be told."""
        namespace, labels = key_of(pod).namespace, pod["metadata"].get("labels") or {}
        return namespace == self.namespace and (self.selector is None or matches(self.selector, labels))


@dataclass(frozen=True)
class Seen:
    """All that a verb knows. `lacking`: what could not be read, though the rest could."""

    policies: tuple[CheckpointHeal, ...] = ()
    heals: tuple[Heal, ...] = ()
    owners: Mapping[str, str] = field(default_factory=dict)
    """UID of a heal's policy, by the heal's own."""
    pods: tuple[Json, ...] = ()
    lacking: tuple[Trouble, ...] = ()
    unreadable: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()
    """Policies among the unreadable."""
    lacks_heals: bool = False
    """Some are there that could not be read."""

    def lacks(self, kind: Kind) -> bool:
        """Whether some of it may be there that nobody was shown."""
        return any(each.kind == kind for each in self.lacking) or (kind == HEALS and self.lacks_heals)

    def unread_of(self, pod: Json) -> tuple[Unread, ...]:
        """Policies that take the pod, or may, and cannot be read."""
        return tuple(each for each in self.unread if each.may_take(pod))

    def heals_of(self, policy: CheckpointHeal) -> tuple[Heal, ...]:
        """Oldest first."""
        mine = self._heals_by_owner.get(policy.metadata.uid, ())
        return tuple(sorted(mine, key=lambda each: (each.spec.opened_at, each.metadata.name)))

    def received_by(self, seat: str) -> "Seen":
        """The same with no other heals than that seat's."""
        return replace(self, heals=tuple(each for each in self.heals if each.spec.recipient.pod == seat))

    def pods_of(self, policy: CheckpointHeal) -> tuple[Json, ...]:
        """Every pod that its selector takes, opted in or not."""
        return tuple(self._pods_by_policy.get(_key_of(policy), ()))

    def policies_of(self, pod: Json) -> tuple[CheckpointHeal, ...]:
        """Those whose selector takes the pod, by their names."""
        namespace, labels = key_of(pod).namespace, pod["metadata"].get("labels") or {}
        asked = (policy for each in (None, *labels.items()) for policy in self._by_label.get((namespace, each), ()))
        return tuple(sorted((each for each in asked if matches(each.spec.selector, labels)), key=_key_of))

    @cached_property
    def _by_label(self) -> Mapping[tuple[str, Label | None], list[CheckpointHeal]]:
        """By a label that pods must have: of hundreds of policies, a pod is held against few."""
        found = defaultdict[tuple[str, Label | None], list[CheckpointHeal]](list)
        for policy in self.policies:
            label = next(iter(policy.spec.selector.match_labels.items()), None)
            found[policy.metadata.namespace, label].append(policy)
        return found

    @cached_property
    def _pods_by_policy(self) -> Mapping[Key, list[Json]]:
        found = defaultdict[Key, list[Json]](list)
        for pod in self.pods:
            for policy in self.policies_of(pod):
                found[_key_of(policy)].append(pod)
        return found

    @cached_property
    def _heals_by_owner(self) -> Mapping[str, list[Heal]]:
        found = defaultdict[str, list[Heal]](list)
        for heal in self.heals:
            found[self.owners.get(heal.metadata.uid, "")].append(heal)
        return found


def seen(policies: Iterable[Json], heals: Iterable[Json], pods: Iterable[Json]) -> Seen:
    """What the API server answered. A pod may come twice."""
    policies, heals = tuple(policies), tuple(heals)
    read_policies, bad_policies = _read(CheckpointHeal, policies)
    read_heals, bad_heals = _read(Heal, heals)
    by_uid = {uid_of(pod): pod for pod in pods}
    return Seen(
        policies=tuple(sorted(read_policies, key=_key_of)),
        heals=tuple(read_heals),
        owners={each["metadata"]["uid"]: owner for each in heals if (owner := _owner(each))},
        pods=tuple(sorted(by_uid.values(), key=key_of)),
        unreadable=(*bad_policies, *bad_heals),
        unread=tuple(_unread(policies, read_policies)),
        lacks_heals=bool(bad_heals),
    )


def written(selector: Selector) -> str:
    """The selector as the API server takes it in a query."""
    parts = [f"{key}={value}" for key, value in sorted(selector.match_labels.items())]
    for each in selector.match_expressions:
        values = f"({','.join(each.values)})"
        said = {"In": f"{each.key} in {values}", "NotIn": f"{each.key} notin {values}", "Exists": each.key}
        parts.append(said.get(each.operator, f"!{each.key}"))
    return ",".join(parts)


def _read(model: type[Model], found: Iterable[Json]) -> tuple[list[Model], list[str]]:
    good: list[Model] = []
    bad: list[str] = []
    for each in found:
        try:
            good.append(model.model_validate(each))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            bad.append(f"{model.__name__} {each['metadata']['name']} cannot be read: {where}: {first['msg']}")
    return good, bad


def _unread(policies: Iterable[Json], read: Iterable[CheckpointHeal]) -> Iterator[Unread]:
    known = {_key_of(each) for each in read}
    for each in policies:
        if (key := key_of(each)) not in known:
            yield Unread(*key, next((selector for _, selector in selectors([each])), None))


def _owner(heal: Json) -> str:
    owners = heal["metadata"].get("ownerReferences") or ()
    return next((str(each["uid"]) for each in owners if each.get("kind") == "CheckpointHeal"), "")


def _key_of(policy: CheckpointHeal) -> Key:
    return Key(policy.metadata.namespace, policy.metadata.name)
