"""How is a live state filled while it arrives?

Chunk by chunk: each lands in a buffer, and goes on into live memory once its digest is the offered one. So there is no
second copy of the state, and no unverified byte in it; but until the last one it is a mixture, and where that one never
comes, it is spoiled. Must not know channels.
"""

import threading
from collections.abc import Sequence

import torch

from checkpointheal.contract.cut import Piece, Pieces
from checkpointheal.ends import mixed
from checkpointheal.ends.live import LiveSource, StagedSink
from checkpointheal.ends.spoil import spoil
from checkpointheal.ends.target import Target
from checkpointheal.errors import Abandoned
from checkpointheal.wire import Offer


class LiveSink(StagedSink):
    """A target's own memory; new memory where it lies otherwise than what is offered, or as the caller wishes."""

    def __init__(self, target: Target, *, staged: bool = False, delta: bool = False) -> None:
        """With `staged`, nothing live is touched. With `delta`, what lies in the target already need not cross."""
        super().__init__(target.require_fit)
        self._target, self._staged, self._delta = target, staged, delta
        self._lock = threading.Lock()
        self._lacking: set[int] = set()
        self._is_in_place = self._is_touched = self._is_left = False

    def prepare(self, offer: Offer) -> Sequence[str]:
        """Digests of the target's chunks, where only what differs shall cross."""
        needed = self._open(offer)
        alike = self._target.lies_like(offer.manifest.schema_)
        source = LiveSource(self._target.live, offer.chunk_bytes)
        present = source.digests() if alike and self._delta else ()
        if not alike or self._staged:
            staged = self._make_room(offer, needed)
            self._take_over(offer, source, present)
            return present or staged
        live = self._target.live
        self._is_in_place, self._regions = True, lambda: live.regions
        self._lacking = set(offer.missing(present))
        return present

    def _own(self, piece: Piece) -> torch.Tensor | None:
        """None in place: live memory is written once it is verified."""
        return None if self._is_in_place else super()._own(piece)

    def _scatter(self, bucket: torch.Tensor, pieces: Pieces) -> None:
        """Only in place: what is staged lands where it stays."""
        self._target.owned.scatter(bucket, pieces, self.regions)

    def keep(self, index: int) -> None:
        """Verified: into live memory. Raises Abandoned where nobody waits for it any more."""
        with self._lock:
            if self._is_left:
                raise Abandoned("the target was given up while the rest of it was on its way")
            self._is_touched = self._is_touched or self._is_in_place
            super().keep(index)
            self._lacking.discard(index)

    def give_up(self, error: BaseException) -> mixed.Memory:
        """Spoil the target, if it was touched; the memory that is a mixture now. Nothing is written to it later."""
        with self._lock:
            self._is_left = True
            if not self._is_touched:
                return ()
            memory = mixed.mark(self.regions, _told(error))
            spoil(self._target.live, (piece for index in self._lacking for piece in self._cut.pieces(index)))
            return memory

    def _take_over(self, offer: Offer, source: LiveSource, present: Sequence[str]) -> None:
        """What need not cross lies in the target: stage it from there."""
        for index in sorted(set(range(len(offer.chunks))).difference(offer.missing(present))):
            for place, part in zip(self.places(index), source.parts(index), strict=True):
                place.copy_(part)
            super().keep(index)


def _told(error: BaseException) -> str:
    return (
        "the live state was being filled when its transfer ended "
        f"({type(error).__name__}: {str(error)[:200]}): what came is verified, what did not is NaN. "
        "Receive into it again; or fill it otherwise and say so by declare_whole()"
    )
