"""How is a state restored whose objects are not made yet?

Frameworks make the optimizer, and load what it is to hold, inside their own `fit()` or `train()`, which is too late to
ask for it. A `Later` stands for such an object: it holds what is restored until the object is there, and is it from
then on. Must not know any framework.
"""

from collections.abc import Mapping
from typing import Any

import torch

from checkpointheal.errors import AppliedStateDiffers, Misuse, SchemaDiffers
from checkpointheal.manifest import compare, describe
from checkpointheal.trainer.parts import Stateful

_SHOWN = 4


class Later:
    """A part to attach in place of an object that comes later."""

    def __init__(self) -> None:
        self._held: Mapping[str, Any] = {}
        self._object: Stateful | None = None

    @property
    def held(self) -> Mapping[str, Any]:
        """What was restored; empty where nothing was, and from the time on that the object is there."""
        return self._held

    def make_room(self, room: Mapping[str, Any]) -> None:
        """Hold a tree of this form; its tensors are nobody else's. Raises Misuse once the object is there."""
        if self._object is not None:
            raise Misuse("a state is restored once, before the objects that it is for are made")
        self._held = room

    def state_dict(self) -> Mapping[str, Any]:
        """The object's; before there is one, what it is to hold."""
        return self._held if self._object is None else self._object.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Into the object; before there is one, for it."""
        if self._object is None:
            self._held = state_dict
        else:
            self._object.load_state_dict(state_dict)

    def become(self, thing: Stateful) -> None:
        """The object is there, and whoever made it has loaded what was restored, if anything was.

        Raises AppliedStateDiffers where it does not hold exactly that.
        """
        if self._held:
            _require_same(self._held, thing.state_dict())
        self._object, self._held = thing, {}


def _require_same(restored: Mapping[str, Any], loaded: Mapping[str, Any]) -> None:
    wanted, live = describe(restored), describe(loaded)
    if differences := compare(wanted.schema, live.schema):
        raise AppliedStateDiffers(f"loading changed the state's form: {SchemaDiffers(differences)}")
    wrong = {
        index
        for index, (ours, theirs) in enumerate(zip(wanted.regions, live.regions, strict=True))
        if not torch.equal(ours, theirs.cpu())
    }
    paths = [entry.path for entry in wanted.schema.each_tensor if entry.region in wrong]
    values = zip(wanted.schema.value_paths, wanted.values, live.values, strict=True)
    if paths := [*paths, *(path for path, ours, theirs in values if ours != theirs)]:
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        raise AppliedStateDiffers(f"{', '.join(paths[:_SHOWN])}{more}: loaded as another value than was restored")
