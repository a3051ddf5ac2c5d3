"""How is a live state given, and how does one arrive that nobody has a place for yet?

A chunk is a view where one region covers it, else it is bucketed through a buffer: many small tensors cross together.
What arrives is staged in memory of its own, one storage per region, and touches nothing live. Must not know channels.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import torch
from pydantic import JsonValue

from checkpointheal import digest
from checkpointheal.contract.layout import Manifest, Region, Schema
from checkpointheal.ends import memory, mixed
from checkpointheal.ends.ends import WINDOW
from checkpointheal.errors import BadFrame
from checkpointheal.manifest import Described
from checkpointheal.manifest.check import check
from checkpointheal.wire import Offer


class Piece(NamedTuple):
    """The part of a chunk that one region holds. In bytes."""

    region: int
    in_region: int
    in_chunk: int
    nbytes: int


class Cut:
    """A data section, cut into chunks."""

    def __init__(self, regions: Sequence[Region], data_bytes: int, chunk_bytes: int) -> None:
        self._regions = [(index, region) for index, region in enumerate(regions) if region.nbytes]
        self._starts = [region.offset for _, region in self._regions]
        self._data_bytes, self._chunk_bytes = data_bytes, chunk_bytes

    @property
    def count(self) -> int:
        """How many chunks."""
        return -(-self._data_bytes // self._chunk_bytes)

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

    def whole(self, index: int) -> Piece | None:
        """The region that covers all of this chunk, if one does."""
        piece = next(self.pieces(index), None)
        return piece if piece is not None and piece.nbytes == self.length(index) else None


class _Buckets:
    """As many buffers as chunks may be in flight, used in turn and made when first needed."""

    def __init__(self, chunk_bytes: int) -> None:
        self._chunk_bytes, self._turn = chunk_bytes, 0
        self._buffers: dict[int, torch.Tensor] = {}

    def take(self, length: int) -> torch.Tensor:
        """The one that was used longest ago."""
        self._turn = (self._turn + 1) % WINDOW
        if self._turn not in self._buffers:
            self._buffers[self._turn] = memory.new(self._chunk_bytes)
        return self._buffers[self._turn][:length]


def copied(described: Described) -> Described:
    """The same state in memory of its own, read now: whoever changes the live one changes nothing here."""
    regions = [memory.new(live.numel()).copy_(live) for live in described.regions]
    return replace(described, regions=tuple(regions))


class Given(Protocol):
    """A state that lies in regions of this process."""

    @property
    def schema(self) -> Schema:
        """How it lies."""
        ...

    @property
    def values(self) -> tuple[JsonValue, ...]:
        """Its plain values, as a manifest has them."""
        ...

    @property
    def regions(self) -> Sequence[torch.Tensor]:
        """1-D uint8 views of its memory, in the schema's order."""
        ...


class LiveSource:
    """A described state in this process. Who changes it meanwhile is found out by the recipient, from the digests."""

    def __init__(self, described: Given, chunk_bytes: int = digest.CHUNK_BYTES) -> None:
        self._described = described
        self._cut = Cut(described.schema.regions, described.schema.data_bytes, chunk_bytes)
        self._buckets = _Buckets(chunk_bytes)

    @property
    def manifest(self) -> Manifest:
        """What is given."""
        return Manifest(schema=self._described.schema, values=self._described.values)

    def digests(self) -> tuple[str, ...]:
        """One per chunk, read now."""
        return tuple(digest.digest_bytes(self.chunk(index).numpy().data) for index in range(self._cut.count))

    def length(self, index: int) -> int:
        """Bytes of this chunk."""
        return self._cut.length(index)

    def chunk(self, index: int) -> torch.Tensor:
        """Live memory where it can be, else a bucket."""
        whole = self._cut.whole(index)
        live = self._described.regions
        if whole is not None and live[whole.region].device.type == "cpu":
            return live[whole.region][whole.in_region :][: whole.nbytes]
        bucket, pieces = self._buckets.take(self._cut.length(index)), list(self._cut.pieces(index))
        if sum(piece.nbytes for piece in pieces) < bucket.numel():
            bucket.zero_()
        for piece in pieces:
            bucket[piece.in_chunk :][: piece.nbytes].copy_(live[piece.region][piece.in_region :][: piece.nbytes])
        return bucket


class StagedSink:
    """New memory for a state, one storage per region, so that each received tensor lives and dies by itself."""

    def __init__(self, fits: Callable[[Manifest], Collection[int]]) -> None:
        """`fits` tells which regions are needed, or raises SchemaDiffers or UnknownClass."""
        self._fits = fits
        self.regions: list[torch.Tensor] = []
        self._landing: dict[int, torch.Tensor] = {}

    def prepare(self, offer: Offer) -> Sequence[str]:
        """Nothing lies here yet; but chunks that are not needed need not cross."""
        return self._make_room(offer, self._open(offer))

    def _open(self, offer: Offer) -> frozenset[int]:
        """The regions that are needed, once everything was checked."""
        schema = offer.manifest.schema_
        check(schema, len(offer.manifest.values))
        needed = frozenset(self._fits(offer.manifest))
        self._cut = Cut(schema.regions, schema.data_bytes, offer.chunk_bytes)
        self._buckets = _Buckets(offer.chunk_bytes)
        return needed

    def _make_room(self, offer: Offer, needed: frozenset[int]) -> Sequence[str]:
        schema = offer.manifest.schema_
        try:
            self.regions = [
                memory.new(region.nbytes if index in needed else 0) for index, region in enumerate(schema.regions)
            ]
        except RuntimeError as error:
            raise BadFrame(f"{schema.data_bytes} bytes are offered, more than this process can have") from error
        if len(needed) == len(schema.regions):
            return ()
        return ["" if self._is_needed(index) else chunk for index, chunk in enumerate(offer.chunks)]

    def place(self, index: int) -> torch.Tensor:
        """The region's own memory where one covers the chunk, else a bucket."""
        whole = self._cut.whole(index)
        if whole is not None and self.regions[whole.region].numel():
            return self.regions[whole.region][whole.in_region :][: whole.nbytes]
        return self._bucket(index)

    def _bucket(self, index: int) -> torch.Tensor:
        self._landing[index] = self._buckets.take(self._cut.length(index))
        return self._landing[index]

    def keep(self, index: int) -> None:
        """Empty the bucket into its regions."""
        bucket = self._landing.pop(index, None)
        if bucket is not None:
            for piece in filter(self._is_kept, self._cut.pieces(index)):
                self.regions[piece.region][piece.in_region :][: piece.nbytes] = bucket[piece.in_chunk :][: piece.nbytes]

    def _is_needed(self, index: int) -> bool:
        return any(map(self._is_kept, self._cut.pieces(index)))

    def _is_kept(self, piece: Piece) -> bool:
        return self.regions[piece.region].numel() > 0

    def seal(self, offer: Offer) -> None:
        """What is staged is whole; who staged it puts it to use."""

    def give_up(self, error: BaseException) -> mixed.Memory:
        """It will not be whole; the live memory that is a mixture now: none, since nothing live was touched."""
        return ()
