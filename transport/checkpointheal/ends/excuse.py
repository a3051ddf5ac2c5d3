"""What is sent in place of chunks that a donor has not, or has no more?

The reason where the first one should be, and then nothing. One byte is nothing where the channel lets a message end
early, so that who waits is free at once; its digest tells. Must not know why there is no chunk.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch

from checkpointheal.errors import CheckpointHealError
from checkpointheal.session import refusal
from checkpointheal.wire import instead


class Excuse:
    """One transfer's. `whole`: the channel cannot end a message early, so what is not to be had goes as zeros."""

    def __init__(self, *, whole: bool) -> None:
        self._whole, self._is_said = whole, False

    def parts(self, why: CheckpointHealError, lengths: Sequence[int]) -> list[torch.Tensor]:
        """In place of a chunk whose parts have these lengths."""
        reason = b"" if self._is_said else instead(refusal(why), sum(lengths))
        if not reason:
            return [torch.zeros(length if self._whole else 1, dtype=torch.uint8, device="cpu") for length in lengths]
        self._is_said = True
        chunk = torch.frombuffer(bytearray(reason.ljust(sum(lengths), b"\0")), dtype=torch.uint8)
        return [chunk[end - length : end] for end, length in zip(accumulate(lengths), lengths, strict=True)]
