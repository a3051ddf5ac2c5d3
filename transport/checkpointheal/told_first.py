"""How does a peer hear of what fails on this side, before it is raised here?

So that it need not wait for its own deadline. Must not know who it is, nor how it is told.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from checkpointheal.errors import CheckpointHealError, as_told


@contextmanager
def told_first(tell: Callable[[CheckpointHealError], None], *but: type[Exception]) -> Iterator[None]:
    """What is raised within it is told, and raised as it was; `but` these: the peer knows, or is out of reach."""
    try:
        yield
    except but:
        raise
    except Exception as error:  # states and targets are the user's code, too: they may raise anything
        tell(as_told(error))
        raise
