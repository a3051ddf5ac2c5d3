"""Is what this epoch computes still worth anything?

One small fact for all groups, gates and commits of a process: an epoch that is over, or the first collective that was
lost in it. Must not know process groups.
"""


class Faults:
    """What went wrong in the epoch that is under way. Groups note, gates ask; a new epoch begins with a new one."""

    def __init__(self) -> None:
        self.swallows = True
        """Whether a lost collective ends without an error: until the last epoch is through."""
        self.noted: Exception | None = None
        self.over = False
        self.refusal: Exception | None = None
        """Why there is nobody to speak with."""

    @property
    def is_lost(self) -> bool:
        """Whether a collective that comes now is worth nothing."""
        return self.over or self.noted is not None

    def note(self, error: Exception) -> None:
        """The first one counts: those after it follow from it."""
        self.noted = self.noted or error
