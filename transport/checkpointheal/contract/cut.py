"""Where is a data section cut: into chunks, which are digested, and into parts, which cross as one message each?

A region that fills much of a chunk is a part of its own, so that its bytes leave from and land in its own memory; what
lies between is packed into one part. Both sides cut alike. Must not know memory.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from typing import NamedTuple

from checkpointheal.contract.layout import Schema

LARGE = 1 << 20
"""Bytes of a region in one chunk from which on they are a part: copying them costs more than a message."""


class Piece(NamedTuple):
    """What one region has in a chunk. In bytes."""

    region: int
    in_region: int
    in_chunk: int
    nbytes: int

    @property
    def is_large(self) -> bool:
        """Whether it is a part of its own."""
        return self.nbytes >= LARGE


class Pieces(NamedTuple):
    """All that the regions have in a chunk, in columns: there may be very many. In bytes."""

    regions: Sequence[int]
    in_region: Sequence[int]
    in_chunk: Sequence[int]
    nbytes: Sequence[int]

    def each(self) -> Iterator[Piece]:
        """One by one."""
        return map(Piece, *self)

    def parted(self) -> tuple["Pieces", "Pieces"]:
        """The large ones, and the others."""
        if max(self.nbytes, default=0) < LARGE:
            return _NONE, self
        is_large = [count >= LARGE for count in self.nbytes]
        return self.only(is_large), self.only([not each for each in is_large])

    def without(self, taken: Callable[[Piece], bool]) -> "Pieces":
        """Those but the large ones that are taken."""
        if max(self.nbytes, default=0) < LARGE:
            return self
        return self.only([not (piece.is_large and taken(piece)) for piece in self.each()])

    def only(self, chosen: Sequence[bool]) -> "Pieces":
        """Those, by their order."""
        return Pieces(*(list(compress(column, chosen)) for column in self))

    def gaps(self, length: int) -> list[tuple[int, int]]:
        """What of a chunk of this length is no region's: from where on, and how many bytes."""
        ends = [0, *map(int.__add__, self.in_chunk, self.nbytes)]
        return [(end, at - end) for end, at in zip(ends, [*self.in_chunk, length], strict=True) if end < at]


_NONE = Pieces((), (), (), ())


class Part(NamedTuple):
    """What crosses as one message. In bytes."""

    in_chunk: int
    nbytes: int
    piece: Piece | None
    """The large piece that it is; None: small ones, and zeros between them."""


class Cut:
    """One data section."""

    def __init__(self, schema: Schema, chunk_bytes: int) -> None:
        offsets, nbytes = schema.regions.offsets, schema.regions.nbytes
        self._numbers: Sequence[int] = range(len(nbytes))
        if 0 in nbytes:
            self._numbers = [index for index, length in enumerate(nbytes) if length]
            offsets, nbytes = (tuple(column[index] for index in self._numbers) for column in (offsets, nbytes))
        self._starts, self._lengths = offsets, nbytes
        self._has_large = max(nbytes, default=0) >= LARGE
        self._data_bytes, self._chunk_bytes = schema.data_bytes, chunk_bytes

    @property
    def count(self) -> int:
        """How many chunks."""
        return -(-self._data_bytes // self._chunk_bytes)

    @property
    def longest(self) -> int:
        """Bytes of the longest chunk: what a buffer for any needs, whatever length a chunk is said to have."""
        return min(self._chunk_bytes, self._data_bytes)

    def length(self, index: int) -> int:
        """Bytes of this chunk."""
        return min(self._chunk_bytes, self._data_bytes - index * self._chunk_bytes)

    def columns(self, index: int) -> Pieces:
        """What the regions give to this chunk; the rest of it is zeros."""
        start, end = index * self._chunk_bytes, index * self._chunk_bytes + self.length(index)
        first, behind = max(0, bisect_right(self._starts, start) - 1), bisect_left(self._starts, end)
        if first < behind and self._starts[first] + self._lengths[first] <= start:
            first += 1
        if first >= behind:
            return _NONE
        in_region, lengths = [0] * (behind - first), list(self._lengths[first:behind])
        in_chunk = [at - start for at in self._starts[first:behind]]
        if in_chunk[0] < 0:
            in_region[0], in_chunk[0], lengths[0] = -in_chunk[0], 0, lengths[0] + in_chunk[0]
        lengths[-1] = min(lengths[-1], end - start - in_chunk[-1])
        return Pieces(self._numbers[first:behind], in_region, in_chunk, lengths)

    def pieces(self, index: int) -> Iterator[Piece]:
        """The same one by one."""
        return self.columns(index).each()

    def parts(self, index: int) -> Iterator[Part]:
        """All of this chunk, in order."""
        at, length = 0, self.length(index)
        for piece in self._large(index):
            if at < piece.in_chunk:
                yield Part(at, piece.in_chunk - at, None)
            yield Part(piece.in_chunk, piece.nbytes, piece)
            at = piece.in_chunk + piece.nbytes
        if at < length:
            yield Part(at, length - at, None)

    def _large(self, index: int) -> Iterator[Piece]:
        return (piece for piece in self.pieces(index) if piece.is_large) if self._has_large else iter(())
