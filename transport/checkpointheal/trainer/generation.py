"""How does one step's state go into the slot that it was given: whole, or not at all?

In one piece, or first what may be written at any moment, and later the rest. Must not know which slot that is, nor who
is told.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

from checkpointheal.arena import Writing
from checkpointheal.contract.seal import Seal
from checkpointheal.manifest import Described, write_out


class Generation:
    """A live state and its place, prepared. `is_over` tells whether the epoch has ended meanwhile."""

    def __init__(self, described: Described, writing: Writing, seal: Seal, is_over: Callable[[], bool]) -> None:
        self.described, self.slot, self.step = described, writing.slot, seal.step
        self._writing, self._seal, self._is_over = writing, seal, is_over

    def copy(self, chosen: Sequence[bool] | None = None) -> None:
        """Its bytes; of its regions the chosen ones alone. An error abandons it."""
        with or_abandon(self._writing):
            write_out(self.described, self._writing.data, chosen)

    def seal(self) -> bool:
        """All is copied: from now on it is there. False, and it is not, where it may be worth nothing."""
        if self._is_over() and not all(region.is_cpu for region in self.described.regions):
            # Behind an aborted collective a device goes on, with gradients that were never reduced.
            self.abandon()
            return False
        with or_abandon(self._writing):
            self._writing.seal(self._seal)
        return True

    def abandon(self) -> None:
        """Let the slot go, without it."""
        self._writing.abandon()


@contextlib.contextmanager
def or_abandon(writing: Writing) -> Iterator[None]:
    """An error within it lets the slot go."""
    try:
        yield
    except BaseException:
        writing.abandon()
        raise
