"""How is a data section in one piece given, and how is one filled?

Chunks leave from it and land in it as they are: nothing is packed. A slot of an arena is one, and so are the copies
that a donor or a recipient makes of its state. Must not know whose state it is.
"""

from collections.abc import Sequence

import torch

from checkpointheal import digest
from checkpointheal.contract.cut import Cut
from checkpointheal.contract.layout import Manifest, Schema
from checkpointheal.ends import memory
from checkpointheal.ends.owned import Owned
from checkpointheal.manifest import Described
from checkpointheal.manifest.packing import clear, gather
from checkpointheal.manifest.places import Places


class Section:
    """The section of a schema, in this memory."""

    def __init__(self, data: torch.Tensor, schema: Schema, chunk_bytes: int) -> None:
        self.bytes, self._schema, self._chunk_bytes = data, schema, chunk_bytes
        self._cut = Cut(schema, chunk_bytes)

    @property
    def regions(self) -> Places:
        """Where they lie in it."""
        regions = self._schema.regions
        return Places.within(self.bytes, regions.offsets, regions.nbytes)

    def parts(self, index: int) -> tuple[torch.Tensor, ...]:
        """Of one chunk: the memory itself."""
        start = index * self._chunk_bytes
        return tuple(self.bytes[start + part.in_chunk :][: part.nbytes] for part in self._cut.parts(index))


class CopiedSource:
    """A copy of a described state, read now: whoever changes the live one changes nothing here."""

    def __init__(self, described: Described, chunk_bytes: int = digest.CHUNK_BYTES) -> None:
        schema = described.schema
        self.manifest = Manifest(schema=schema, values=described.values)
        held, pieces = memory.new(schema.data_bytes), Cut(schema, max(schema.data_bytes, 1)).columns(0)
        clear(held, pieces.gaps(schema.data_bytes))
        gather(held, pieces, described.regions)
        Owned(schema).clear(held, pieces)
        self._section, self._chunk_bytes = Section(held, schema, chunk_bytes), chunk_bytes

    def digests(self) -> tuple[str, ...]:
        """One per chunk."""
        return digest.chunk_digests(self._section.bytes.numpy().data, self._chunk_bytes)

    def parts(self, index: int) -> Sequence[torch.Tensor]:
        """The copy's own memory."""
        return self._section.parts(index)
