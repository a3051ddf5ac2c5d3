"""Where is a data section cut: into chunks, which are digested, and into parts, which cross as one message each?

A region that fills much of a chunk is a part of its own, so that its bytes leave from and land in its own memory; what
lies between is packed into one part. Both sides cut alike. Must not know memory.
"""

from bisect import bisect_right
from collections.abc import Iterator
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


class Part(NamedTuple):
    """What crosses as one message. In bytes."""

    in_chunk: int
    nbytes: int
    piece: Piece | None
    """The large piece that it is; None: small ones, and zeros between them."""


class Cut:
    """One data section."""

    def __init__(self, schema: Schema, chunk_bytes: int) -> None:
        self._regions = [(index, region) for index, region in enumerate(schema.regions) if region.nbytes]
        self._starts = [region.offset for _, region in self._regions]
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

    def pieces(self, index: int) -> Iterator[Piece]:
        """What the regions give to this chunk; the rest of it is zeros."""
        start, end = index * self._chunk_bytes, index * self._chunk_bytes + self.length(index)
        at = max(0, bisect_right(self._starts, start) - 1)
        while at < len(self._starts) and self._starts[at] < end:
            number, region = self._regions[at]
            low, high = max(start, region.offset), min(end, region.offset + region.nbytes)
            if low < high:
                yield Piece(number, low - region.offset, low - start, high - low)
            at += 1

    def parts(self, index: int) -> Iterator[Part]:
        """All of this chunk, in order."""
        at, length = 0, self.length(index)
        for piece in self.pieces(index):
            if piece.is_large:
                if at < piece.in_chunk:
                    yield Part(at, piece.in_chunk - at, None)
                yield Part(piece.in_chunk, piece.nbytes, piece)
                at = piece.in_chunk + piece.nbytes
        if at < length:
            yield Part(at, length - at, None)
