"""Do the parts hold a mixture of two states, because a restore raised in the middle?

From the first write until all of it is there, private part and all; then until another restore succeeds, or the user
says that they hold one again. Must not know how they are filled.
"""

from checkpointheal.ends import mixed
from checkpointheal.manifest import Described

_WHY = (
    "restore() raised in the middle, so the attached parts hold a mixture of two states: load your checkpoint into all "
    "of them and say so by heal.declare_whole(), or restore() again; what is made anew is not meant"
)


class Half:
    """Of one trainer."""

    def __init__(self) -> None:
        self._memory: mixed.Memory = ()

    def begins(self, live: Described) -> None:
        """From now on it is one."""
        self._memory += mixed.mark(live.regions, _WHY)

    @property
    def is_there(self) -> bool:
        """Whether they do: a restore that is refused before any write leaves them as they were."""
        return bool(self._memory)

    @staticmethod
    def tell(error: Exception) -> None:
        """Add to an error, which is the user's own, what it has left behind."""
        error.add_note(f"checkpointheal: {_WHY}")

    def ends(self) -> None:
        """They hold one state."""
        mixed.forget(self._memory)
        self._memory = ()
