"""Which ranks of a process group does a call name?

A backend takes whatever it is given: gloo ends the process for a rank that does not exist, and waits for ever for its
own. Must not know what is transferred.
"""

import operator
from collections.abc import Iterable
from typing import Any, Protocol

from checkpointheal.errors import Misuse

_WHOSE_WORD_COUNTS = ("torch", "checkpointheal")


class Seated(Protocol):
    """What is needed to know of a process group."""

    def rank(self) -> int:
        """This process's; a negative one: it is not known."""
        ...

    def size(self) -> int:
        """How many ranks there are."""
        ...


def others(group: Seated, named: object) -> tuple[int, ...]:
    """The other ranks that are named, by one or by several numbers, each once.

    Raises Misuse where one is no rank of the group, or this process's own.
    """
    return tuple(dict.fromkeys(_other(group, rank) for rank in _each(named)))


def whole(number: Any) -> int | None:
    """A whole number of any kind; None: it is none."""
    try:
        return operator.index(number)
    except TypeError:
        return None


def _each(named: Any) -> Iterable[Any]:
    return named if isinstance(named, Iterable) and whole(named) is None else (named,)


def _other(group: Seated, named: Any) -> int:
    rank, size = whole(named), group.size()
    if rank is None or rank not in range(size):
        raise Misuse(f"rank {named!r} is none of this process group's, which are 0 to {size - 1}, of {size}")
    if rank == _own(group):
        raise Misuse(f"rank {rank} of {size} is this process itself: name another one")
    return rank


def _own(group: Seated) -> int | None:
    """None: it is not known. One that is made around another, as torchft's, may be told its ranks later, and say 0."""
    return group.rank() if type(group).__module__.partition(".")[0] in _WHOSE_WORD_COUNTS else None
