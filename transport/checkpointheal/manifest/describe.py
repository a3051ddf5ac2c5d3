"""What is this live state: its schema, its plain values, and where its bytes are?

Every distinct range of storage is one region, however many tensors view it. Nothing is copied: regions are views of
live memory. Must not know where the bytes will go.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import JsonValue

from checkpointheal.contract.cut import Cut
from checkpointheal.contract.layout import Regions, Schema, Tensors
from checkpointheal.manifest.looks import Seen, look
from checkpointheal.manifest.packing import clear, gather
from checkpointheal.manifest.spans import lay_out
from checkpointheal.manifest.tree import Leaves, plant


@dataclass(frozen=True)
class Described:
    """A live state. `regions` are 1-D uint8 views of its memory, in the schema's order."""

    schema: Schema
    values: tuple[JsonValue, ...]
    regions: Sequence[torch.Tensor]
    seen: Seen
    """How its tensors looked, and where they lay."""
    leaves: Leaves
    """The live tensors and the classes of the live objects, in the order of the tree."""

    def chunks(self, chunk_bytes: int) -> Iterator[memoryview]:
        """The data section piece by piece, each valid until the next.

        A view of live memory where one region of the CPU's covers the piece, else copied into a buffer.
        """
        cut = Cut(self.schema, chunk_bytes)
        scratch = torch.empty(cut.longest, dtype=torch.uint8, device="cpu")
        for index in range(cut.count):
            yield self._piece(cut, index, scratch).numpy().data

    def _piece(self, cut: Cut, index: int, scratch: torch.Tensor) -> torch.Tensor:
        pieces, length = cut.columns(index), cut.length(index)
        if list(pieces.nbytes) == [length] and (region := self.regions[pieces.regions[0]]).is_cpu:
            return region[pieces.in_region[0] :][:length]
        clear(scratch, pieces.gaps(length))
        gather(scratch, pieces, self.regions)
        return scratch[:length]


def describe(state: Mapping[str, Any], previous: Described | None = None) -> Described:
    """Describe a state dict. Given the previous description, what has not moved is not described again.

    Raises UnsupportedLeaf that names path and type of a leaf that cannot cross.
    """
    leaves = Leaves()
    tree = plant(state, leaves)
    seen = look(leaves.paths, leaves.tensors)
    if previous is not None and previous.schema.tree == tree and previous.seen == seen:
        return Described(previous.schema, tuple(leaves.values), previous.regions, seen, leaves)
    laid = lay_out(seen)
    regions = Regions.model_construct(dtypes=laid.dtypes, nbytes=laid.lengths)
    columns = Tensors.model_construct(
        paths=tuple(leaves.paths), forms=tuple(seen.of), regions=laid.of, offsets=laid.offsets
    )
    schema = Schema.model_construct(  # our own numbers, and very many: nobody need check them
        tree=tree,
        forms=tuple(each.form for each in seen.looks),
        tensors=columns,
        regions=regions,
        data_bytes=regions.end,
        value_paths=tuple(leaves.value_paths),
    )
    return Described(schema, tuple(leaves.values), laid.places, seen, leaves)
