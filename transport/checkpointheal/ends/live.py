"""How is a live state given, and how does one arrive that nobody has a place for yet?

A large piece of a region is given as the view that it is, small ones are bucketed through a buffer: many small tensors
cross together. What arrives is staged in memory of its own, and touches nothing live. Must not know channels.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache, partial
from typing import Protocol

import torch
from pydantic import JsonValue

from checkpointheal import digest
from checkpointheal.contract.cut import LARGE, Cut, Part, Piece, Pieces
from checkpointheal.contract.layout import Manifest, Regions, Schema
from checkpointheal.ends import memory, mixed
from checkpointheal.ends.ends import WINDOW
from checkpointheal.ends.owned import Owned
from checkpointheal.ends.section import Section
from checkpointheal.errors import BadFrame
from checkpointheal.manifest.check import check
from checkpointheal.manifest.packing import clear, gather, scatter
from checkpointheal.manifest.places import Places
from checkpointheal.wire import Offer

Room = Callable[[Schema], Sequence[torch.Tensor]]
"""Makes memory for every region of a schema: 1-D uint8 views. Raises RuntimeError where there is not so much."""


class _Buckets:
    """As many buffers as chunks may be in flight, made when first needed. The one that was used longest ago is next."""

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes
        self._buffers: dict[int, torch.Tensor] = {}

    def find(self, index: int) -> torch.Tensor | None:
        """The chunk's own, if it has one still."""
        found = self._buffers.pop(index, None)
        if found is not None:
            self._buffers[index] = found
        return found

    def take(self, index: int) -> torch.Tensor:
        """One for this chunk, whatever is in it."""
        found = self.find(index)
        if found is None:
            full = len(self._buffers) == WINDOW
            found = self._buffers.pop(next(iter(self._buffers))) if full else memory.new(self._nbytes)
            self._buffers[index] = found
        return found


def _of(regions: Sequence[torch.Tensor], piece: Piece) -> torch.Tensor:
    return regions[piece.region][piece.in_region :][: piece.nbytes]


def _laid(
    parts: Iterable[Part], own: Callable[[Piece], torch.Tensor | None], bucket: Callable[[], torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """Each part in memory of its own, else in the chunk's bucket, which is taken only where a part needs it."""
    found = [(part, own(part.piece) if part.piece else None) for part in parts]
    chunk = bucket() if any(lies is None for _, lies in found) else torch.empty(0, device="cpu")
    return tuple(chunk[part.in_chunk :][: part.nbytes] if lies is None else lies for part, lies in found)


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
        self._cut, self._owned = Cut(described.schema, chunk_bytes), Owned(described.schema)
        self._buckets = _Buckets(self._cut.longest)

    @property
    def manifest(self) -> Manifest:
        """What is given."""
        return Manifest(schema=self._described.schema, values=self._described.values)

    def digests(self) -> tuple[str, ...]:
        """One per chunk, read now: the last one first, so that those that are asked for first are packed already."""
        descending = [memory.digest_of(self.parts(index)) for index in reversed(range(self._cut.count))]
        return tuple(reversed(descending))

    def lengths(self, index: int) -> tuple[int, ...]:
        """Bytes of each part of this chunk."""
        return tuple(part.nbytes for part in self._cut.parts(index))

    def parts(self, index: int) -> tuple[torch.Tensor, ...]:
        """Live memory where it can be, else a bucket."""
        return _laid(self._cut.parts(index), self._own, lambda: self._packed(index))

    def _own(self, piece: Piece) -> torch.Tensor | None:
        """Its live memory, where it is given as it lies."""
        if not piece.is_large or piece.region in self._owned.gapped:
            return None
        live = _of(self._described.regions, piece)
        return live if live.device.type == "cpu" else None

    def _packed(self, index: int) -> torch.Tensor:
        """What is not given as it lies, and zeros between; as it was digested, where it still lies in its bucket."""
        length = self._cut.length(index)
        if (packed := self._buckets.find(index)) is not None:
            return packed[:length]
        bucket, pieces = self._buckets.take(index)[:length], self._cut.columns(index)
        clear(bucket, pieces.gaps(length))
        gather(bucket, pieces.without(lambda large: self._own(large) is not None), self._described.regions)
        self._owned.clear(bucket, pieces)
        return bucket


def _only(needed: Collection[int], schema: Schema) -> Sequence[torch.Tensor]:
    """One piece of memory for those that are needed."""
    lengths = tuple(nbytes if at in needed else 0 for at, nbytes in enumerate(schema.regions.nbytes))
    regions = Regions.model_construct(dtypes=(), nbytes=lengths)
    return Places.within(memory.new(regions.end), regions.offsets, lengths)


def _in_one(schema: Schema) -> Sequence[torch.Tensor]:
    return (memory.new(schema.data_bytes),)


def _had(schema: Schema, make: Room) -> Sequence[torch.Tensor]:
    try:
        return make(schema)
    except RuntimeError as error:
        raise BadFrame(f"{schema.data_bytes} bytes are offered, more than this process can have") from error


class StagedSink:
    """New memory for a state. It stays there where it has a `room`; else it is copied on, and lands in one piece."""

    def __init__(self, fits: Callable[[Manifest], Collection[int]], room: Room | None = None) -> None:
        """`fits` tells which regions are needed, or raises SchemaDiffers or UnknownClass; `room` makes all of them."""
        self._fits, self._room = fits, room
        self._regions: Callable[[], Sequence[torch.Tensor]] = tuple
        self._section: Section | None = None
        self._landing: dict[int, torch.Tensor] = {}
        self._unneeded: frozenset[int] = frozenset()

    @property
    def regions(self) -> Sequence[torch.Tensor]:
        """One for each of the offered schema, once it is prepared. Raises BadFrame where there is no room for it."""
        return self._regions()

    def prepare(self, offer: Offer) -> Sequence[str]:
        """Nothing lies here yet; but chunks that are not needed need not cross."""
        return self._make_room(offer, self._open(offer))

    def _open(self, offer: Offer) -> frozenset[int]:
        """The regions that are needed, once everything was checked."""
        schema = offer.manifest.schema_
        check(schema, len(offer.manifest.values))
        needed = frozenset(self._fits(offer.manifest))
        self._cut = offer.cut()
        self._buckets = _Buckets(self._cut.longest)
        return needed

    def _make_room(self, offer: Offer, needed: frozenset[int]) -> Sequence[str]:
        """Memory for large regions at once, for a host of small ones while the first of them cross."""
        schema = offer.manifest.schema_
        is_whole = len(needed) == len(schema.regions)
        if is_whole and self._room is None:
            self._section = section = Section(_had(schema, _in_one)[0], schema, offer.chunk_bytes)
            self._regions = cache(lambda: section.regions)
            return ()
        make = self._room if self._room and is_whole else partial(_only, needed)
        self._regions = cache(partial(_had, schema, make))
        if max(schema.regions.nbytes, default=0) < LARGE:
            _had(schema, _in_one)
        else:
            self._regions()
        if is_whole:
            return ()
        self._unneeded = frozenset(range(len(schema.regions))).difference(needed)
        return ["" if self._is_needed(index) else chunk for index, chunk in enumerate(offer.chunks)]

    def places(self, index: int) -> tuple[torch.Tensor, ...]:
        """The section's own memory; or the region's, where there is any for a large piece, else a bucket."""
        if self._section is not None:
            return self._section.parts(index)
        return _laid(self._cut.parts(index), self._own, lambda: self._bucket(index))

    def keep(self, index: int) -> None:
        """Empty the bucket into its regions."""
        bucket = self._landing.pop(index, None)
        if bucket is not None:
            self._scatter(bucket, self._in_bucket(index))

    def _scatter(self, bucket: torch.Tensor, pieces: Pieces) -> None:
        scatter(bucket, pieces, self.regions)

    def _in_bucket(self, index: int) -> Pieces:
        pieces = self._cut.columns(index)
        if self._unneeded:
            pieces = pieces.only([each not in self._unneeded for each in pieces.regions])
        return pieces.without(lambda large: self._own(large) is not None)

    def _bucket(self, index: int) -> torch.Tensor:
        self._landing[index] = self._buckets.take(index)[: self._cut.length(index)]
        return self._landing[index]

    def _own(self, piece: Piece) -> torch.Tensor | None:
        """Its own memory, where it lands there before it is verified."""
        return _of(self.regions, piece) if piece.is_large and self._is_kept(piece) else None

    def _is_needed(self, index: int) -> bool:
        return any(map(self._is_kept, self._cut.pieces(index)))

    def _is_kept(self, piece: Piece) -> bool:
        return piece.region not in self._unneeded

    def seal(self, offer: Offer) -> None:
        """What is staged is whole; who staged it puts it to use."""

    def give_up(self, error: BaseException) -> mixed.Memory:
        """It will not be whole; the live memory that is a mixture now: none, since nothing live was touched."""
        return ()
