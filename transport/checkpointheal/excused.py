"""How does a donor that fails on its own side still come to an end with its recipient?

The recipient has wanted chunks, and hears no word before they have come: the reason goes in place of the first that is
left, and next to nothing in place of the others. Must not know what failed.
"""

from collections.abc import Callable, Sequence

import torch

from checkpointheal.ends import Source
from checkpointheal.ends.excuse import Excuse
from checkpointheal.errors import WorldFailed, as_told
from checkpointheal.wire import Offer


class Excused:
    """A source, until it fails. `error` is raised by who gives from it, once that has ended."""

    def __init__(self, source: Source, offer: Offer, *, whole: bool) -> None:
        """`whole`: the channel cannot end a message early."""
        self._source, self._offer, self._excuse = source, offer, Excuse(whole=whole)
        self.manifest = source.manifest
        self.error: Exception | None = None

    def parts(self, index: int) -> Sequence[torch.Tensor]:
        """The chunk's, or an excuse."""
        if self.error is None:
            try:
                return self._source.parts(index)
            except Exception as error:  # a live state may be of the user's classes: whatever it is, the recipient hears
                self.error = error
        lengths = [part.nbytes for part in self._offer.cut().parts(index)]
        return self._excuse.parts(as_told(self.error), lengths)

    def telling(self, tell: Callable[[int], None]) -> Callable[[int], None]:
        """Who is told of progress may fail, too; and is told nothing after that."""

        def told(count: int) -> None:
            if self.error is None:
                try:
                    tell(count)
                except WorldFailed:
                    raise
                except Exception as error:  # who is told is the user's own function
                    self.error = error

        return told
