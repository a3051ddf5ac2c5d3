"""What must an end of a transfer be able to do, and on which terms does it run?

Must not know which channel carries the chunks.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from checkpointheal.contract.base import Digest
from checkpointheal.contract.layout import Manifest
from checkpointheal.wire import Lifeline, Offer

WINDOW = 4
"""Chunks in flight at once: one is digested, one arrives, and neither side waits for the other's next word."""


class Source(Protocol):
    """A state at rest: nobody changes it until the transfer is over."""

    @property
    def manifest(self) -> Manifest:
        """What is given."""
        ...

    def parts(self, index: int) -> Sequence[torch.Tensor]:
        """One chunk, cut as `contract.cut` does: 1-D uint8, CPU memory, valid until WINDOW more have been asked for."""
        ...


class Sink(Protocol):
    """A place for a state. Nothing of it counts before `seal`."""

    def prepare(self, offer: Offer) -> Sequence[Digest]:
        """Make room, once everything about the offer was checked; digests of the chunks that lie there already.

        Raises BadFrame, SchemaDiffers or ArenaDoesNotFit; then nothing was touched.
        """
        ...

    def places(self, index: int) -> Sequence[torch.Tensor]:
        """Where the parts of a chunk shall land: 1-D uint8, CPU memory, its own until `keep` or WINDOW more chunks."""
        ...

    def keep(self, index: int) -> None:
        """The chunk landed, and its bytes are the offered ones."""
        ...

    def seal(self, offer: Offer) -> None:
        """All chunks are here and verified."""
        ...


@dataclass(frozen=True)
class Terms:
    """How long each side waits, and who is told. Seconds on the monotonic clock."""

    deadline: float
    stall: float
    """Without a chunk for this long, the peer's own cap apart, it counts as gone."""
    progress: Callable[[int], None] = lambda _bytes: None
    bytes_per_second: float | None = None
    frame: float = math.inf
    """How long the next frame may take: the other side reads its state through in the meantime."""
    expect: Callable[[int], None] = lambda _bytes: None
    """Told how many bytes are to cross in all, before the first chunk and whenever more are asked for."""
    lifeline: Callable[[Lifeline | None], None] = lambda _told: None
    """Told, on the donor's side, where the recipient waits to be called."""

    def left(self, now: float) -> float:
        """How long a frame may take now."""
        return max(0.0, min(self.frame, self.deadline - now))

    def chunk(self, now: float, pace: float = 0) -> float:
        """How long a chunk may take now, from a donor whose cap makes it take `pace` seconds."""
        return max(0.0, min(self.stall + pace, self.deadline - now))
