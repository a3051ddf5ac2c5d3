"""Which class in a state would nobody know who makes this trainer's parts anew?

None is ever imported by a name: known is what is registered, and what the newly made parts hold. Must not know when a
state is kept, nor what is said.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from checkpointheal.contract.layout import Outer
from checkpointheal.errors import Misuse, UnknownClass
from checkpointheal.manifest import Described, Known
from checkpointheal.manifest.classes import UNFIT, find
from checkpointheal.manifest.growing import Giver, grow
from checkpointheal.manifest.tree import Leaves, plant


class NewClasses:
    """Of one state of a trainer, the shared one or its own, in this life of it."""

    def __init__(self) -> None:
        self._made: Known | None = None
        self._seen: set[str] = set()

    def note(self, known: Known | None) -> None:
        """What it held when its parts were newly made: once. None: nobody can say, and so nothing is new."""
        if self._made is None and known is not None:
            self._made, self._seen = known, set(known)

    def found(self, described: Described) -> Sequence[UnknownClass]:
        """Of each class that came since, and is not registered, the first object; each is told once."""
        came = described.leaves.known.keys() - self._seen
        if self._made is None or not came:
            return ()
        self._seen |= came
        search = _Search(self._made, came)
        grow(described.schema.tree, search)
        return tuple(search.unknown.values())


class _Search(Giver):
    """Looks where objects of these classes stand, and makes nothing."""

    def __init__(self, known: Known, names: set[str]) -> None:
        super().__init__((), (), known)
        self._names = names
        self.unknown: dict[str, UnknownClass] = {}

    def tensor(self, index: int) -> Any:
        return None

    def run(self, first: int, count: int) -> Sequence[Any]:
        return [None] * count

    def value(self, index: int) -> Any:
        return None

    def thing(self, name: str, parts: Any, path: str) -> Any:
        self._look_for(name, path)
        return name, str(parts)

    def wrapper(self, name: str, context: Any, inner: Mapping[str, Any], outer: Outer, path: str) -> Any:
        self._look_for(name, path)

    def _look_for(self, name: str, path: str) -> None:
        if name in self._names and name not in self.unknown:
            try:
                find(name, self._known, path)
            except UnknownClass as error:
                self.unknown[name] = error


def classes_in(ask: Callable[[], Mapping[str, Any]]) -> Known | None:
    """The classes of what stands in the state now. None where its owners cannot tell it yet."""
    leaves = Leaves()
    try:
        plant(ask(), leaves)
    except (Misuse, *UNFIT):
        return None
    return leaves.known
