"""How is a state restored whose objects are not made yet?

Frameworks make the optimizer, and load what it is to hold, inside their own `fit()` or `train()`, which is too late to
ask for it. A `Later` stands for such an object: it holds what is restored until the object is there, and is it from
then on. Must not know any framework.
"""

from collections.abc import Mapping
from typing import Any

from checkpointheal.errors import Misuse
from checkpointheal.manifest import describe
from checkpointheal.trainer.exact import differing, require_none
from checkpointheal.trainer.parts import Stateful


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
            wanted, live = describe(self._held), describe(thing.state_dict())
            paths = differing(wanted.schema, wanted.regions, wanted.values, live)
            require_none(paths, "loaded as another value than was restored")
        self._object, self._held = thing, {}
