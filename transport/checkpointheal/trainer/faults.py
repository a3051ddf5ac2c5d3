"""Is what this epoch computes still worth anything?

One small fact for all groups, gates and commits of a process: an epoch that is over, or the first collective that was
lost in it. Must not know process groups.
"""

from collections.abc import Iterable

import torch

from checkpointheal.errors import EpochOver


class Faults:
    """What went wrong in the epoch that is under way. Groups note, gates ask; a new epoch begins with a new one."""

    def __init__(self) -> None:
        self.swallows = True
        """Whether a lost collective ends without an error: until the last epoch is through."""
        self.noted: Exception | None = None
        self.over = False
        self.refusal: Exception | None = None
        """Why there is nobody to speak with."""
        self.is_queued = False
        """Whether a device has collectives to carry out since the last gate. Their waiters are not told of a loss."""
        self.is_left = False
        """Whether the epoch is behind this trainer, and what was begun in it nobody's."""

    @property
    def is_lost(self) -> bool:
        """Whether a collective that comes now is worth nothing."""
        return self.over or self.noted is not None

    def note(self, error: Exception) -> None:
        """The first one counts: those after it follow from it."""
        self.noted = self.noted or error

    def require_of_now(self) -> None:
        """Raise EpochOver where work of an epoch that was left is waited for: what it wrote is no part of this one."""
        if self.is_left:
            raise EpochOver(
                "this collective was begun in an epoch that is over: drop the work that is under way, and what it "
                "writes, at the beginning of each epoch"
            )

    def queue(self, written: Iterable[torch.Tensor]) -> None:
        """A collective writes these: on a device some time later, whoever has waited for it."""
        self.is_queued = self.is_queued or any(each.is_cuda for each in written)
