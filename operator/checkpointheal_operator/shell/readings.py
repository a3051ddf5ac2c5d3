"""What did an object say, where it was read before and is still the same one?

A mirror never changes an object that it holds: what changed is another object. So what was read of one is true for as
long as it is held, and a job that is looked at several times a second reads only what is new. Must not know what is
read.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from checkpointheal_operator.api.base import Json

Said = TypeVar("Said")


class Readings(Generic[Said]):
    """Of the objects that were asked about last; they are held, so that none is taken for another one."""

    def __init__(self, read: Callable[[Json], Said]) -> None:
        self._read = read
        self._known: dict[int, tuple[Json, Said]] = {}

    def of(self, found: Iterable[Json]) -> Iterator[Said]:
        """What each says; all others are forgotten."""
        known, self._known = self._known, {}
        for each in found:
            said = known.get(id(each)) or (each, self._read(each))
            self._known[id(each)] = said
            yield said[1]
