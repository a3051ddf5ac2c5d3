"""How does a part get the form of a state that was kept, where it has another one now?

An optimizer is stepped into it, where that can be. Else by its own loading: a part of the user's that has grown, an
optimizer that makes its state as it goes. A module is written where it lies, so its form is its maker's business. Must
not know what is written afterwards.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from pydantic import JsonValue

from checkpointheal.contract.layout import Difference, Schema
from checkpointheal.errors import SchemaDiffers
from checkpointheal.manifest import Anew, Described, compare, describe, glance, owner_of
from checkpointheal.manifest.classes import UNFIT
from checkpointheal.manifest.rebuild import as_bytes
from checkpointheal.trainer.later import Later
from checkpointheal.trainer.loading import keeper_of
from checkpointheal.trainer.materialise import materialise
from checkpointheal.trainer.parts import Parts, parameters_of
from checkpointheal.trainer.within import is_set_up

REMEDY = (
    "make the parts as they were when it was kept, before restore(); what changes its form while it trains is kept in "
    "a part of your own, with state_dict() and load_state_dict()"
)


@dataclass(frozen=True)
class Given:
    """A generation's contents, which the live objects are to hold."""

    schema: Schema
    values: Sequence[JsonValue]
    data: memoryview

    @property
    def regions(self) -> Iterator[torch.Tensor]:
        """The bytes of each, in its order."""
        section = as_bytes(self.data)
        return (section[each.offset : each.offset + each.nbytes] for each in self.schema.each_region)


def owners(parts: Parts, paths: Collection[str]) -> list[str]:
    """The parts that these leaves belong to."""
    found = {owner_of(path, parts.replicated) for path in paths}
    return [name for name in parts.replicated if name in found]


def prepare(parts: Parts, given: Given) -> None:
    """The form of what is to arrive, for those who have none yet: the objects that come later, and the optimizers."""
    if later := {name: part for name, part in parts.replicated.items() if isinstance(part, Later)}:
        made = Anew(given.schema, given.values, given.data).of(later)
        for name, each in later.items():
            each.make_room(made.get(name, {}))
    materialise_all(parts, given)


def materialise_all(parts: Parts, given: Given) -> None:
    """For each optimizer the state that will arrive, as wide as it is given; one inside of another is its owner."""
    offered = glance(given.schema, given.values, given.data)
    written = {id(each) for module in parts.modules.values() for each in module.parameters()}
    for name, optimizer in parts.optimizers.items():
        if isinstance(whole := offered.get(name), Mapping) and isinstance(state := whole.get("state"), Mapping):
            keeper = optimizer if is_set_up(optimizer) else keeper_of(optimizer, whole)
            if keeper is not None:
                own = [each for each in parameters_of(keeper) if id(each) not in written]
                materialise(keeper, state, own)


def require_loadable(parts: Parts, differences: Sequence[Difference]) -> None:
    """Raise SchemaDiffers where one of them is in a part whose form its own loading cannot change."""
    if not all(_may_load(parts, each.path) for each in differences):
        raise SchemaDiffers(differences, REMEDY)


def form(parts: Parts, given: Given, live: Described, differences: Sequence[Difference]) -> Described:
    """The live state in the form of the given one. Raises SchemaDiffers where a part cannot have it."""
    names = owners(parts, [each.path for each in differences])
    made = Anew(given.schema, given.values, given.data, live.leaves).of(names)
    for name in names:
        try:
            parts.replicated[name].load_state_dict(made[name])
        except UNFIT as error:
            raise SchemaDiffers(differences, REMEDY) from error
    materialise_all(parts, given)  # the loading of an optimizer casts what is wider than its weights
    formed = describe(parts.replicated_state())
    if left := compare(given.schema, formed.schema):
        raise SchemaDiffers(left, REMEDY)
    return formed


def _may_load(parts: Parts, path: str) -> bool:
    """Of an optimizer all but its groups: torch has these made, and matched, by whoever makes it."""
    name = owner_of(path, parts.replicated)
    if name is None or name in parts.modules:
        return False
    return name not in parts.optimizers or owner_of(path, [f"{name}.param_groups"]) is None
