"""Which bytes of a region are some tensor's, and how are those alone read and written?

A region reaches from its first byte to its last one, whatever lies between: rows of a wider tensor, numbers of somebody
else. Those are not in the state: they are zeros where it is given, and stay as they are where it is filled. Dense
regions, which nearly all are, have none and cost nothing. Must not know how the bytes came.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import torch

from checkpointheal.contract.cut import Pieces
from checkpointheal.contract.layout import Form, Schema, TensorEntry
from checkpointheal.manifest.dtypes import BY_NAME
from checkpointheal.manifest.packing import scatter
from checkpointheal.manifest.reach import is_dense, may_overlap_itself, reach

_WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""What torch copies and fills bit by bit: some dtypes it can only hold."""


def elements(entry: TensorEntry, region: torch.Tensor) -> torch.Tensor:
    """The tensor as whole numbers in this region. A dimension whose elements are one has one."""
    size = BY_NAME[entry.dtype].itemsize
    unit = min(size, 8)
    shape = [1 if step == 0 else count for count, step in zip(entry.shape, entry.stride, strict=True)]
    steps = [step * (size // unit) for step in entry.stride]
    empty = torch.empty(0, dtype=_WHOLE[unit], device=region.device)
    start = (region.storage_offset() + entry.offset) // unit
    return empty.set_(region.untyped_storage(), start, (*shape, size // unit), (*steps, 1))


def is_solid(entry: TensorEntry | Form) -> bool:
    """Whether every byte that it reaches is in one of its elements."""
    return is_dense(entry) and not may_overlap_itself(entry)


def mask(entries: Iterable[TensorEntry], nbytes: int) -> torch.Tensor:
    """Bool, CPU, one per byte of a region: whether it is in one of these tensors."""
    found = torch.zeros(nbytes, dtype=torch.uint8, device="cpu")
    for entry in entries:
        elements(entry, found).fill_(-1)
    return found.ne_(0).view(torch.bool)


class Owned:
    """The bytes of a state's regions that are in it. Holds as much memory as the largest region with gaps has."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._last = -1, torch.empty(0, device="cpu")

    @cached_property
    def gapped(self) -> frozenset[int]:
        """The regions with bytes that may be in no tensor."""
        schema = self._schema
        forms, regions, offsets = (
            np.array(column, dtype=np.int64)
            for column in (schema.tensors.forms, schema.tensors.regions, schema.tensors.offsets)
        )
        reaches = np.array([reach(form) for form in schema.forms], dtype=np.int64)[forms]
        loose = np.array([not is_solid(form) for form in schema.forms], dtype=bool)[forms]
        begins = np.array(schema.regions.offsets, dtype=np.int64)[regions]
        order = np.lexsort((begins + offsets, reaches == 0))[: np.count_nonzero(reaches)]
        starts, regions, begins, loose = (begins + offsets)[order], regions[order], begins[order], loose[order]
        ends = np.maximum.accumulate(starts + reaches[order])
        before = np.maximum(begins, np.concatenate(([0], ends))[:-1])
        return frozenset(regions[loose | (starts > before)].tolist())

    def clear(self, bucket: torch.Tensor, pieces: Pieces) -> None:
        """Zeros in the bucket, where what these pieces hold is in no tensor."""
        for region, inside, at, count in zip(*self._of_gapped(pieces), strict=True):
            bucket[at : at + count].mul_(self._mask(region)[inside : inside + count])

    def scatter(self, bucket: torch.Tensor, pieces: Pieces, live: Sequence[torch.Tensor]) -> None:
        """Copy the pieces out of the bucket, but for what is in no tensor."""
        if not self.gapped:
            scatter(bucket, pieces, live)
            return
        scatter(bucket, pieces.only([region not in self.gapped for region in pieces.regions]), live)
        for region, inside, at, count in zip(*self._of_gapped(pieces), strict=True):
            own, into = self._mask(region)[inside : inside + count], live[region][inside : inside + count]
            into.masked_scatter_(own.to(into.device), bucket[at : at + count][own].to(into.device))

    def _of_gapped(self, pieces: Pieces) -> Pieces:
        """Asked for every chunk: where nothing has gaps, no piece is looked at."""
        if not self.gapped:
            return Pieces([], [], [], [])
        return pieces.only([region in self.gapped for region in pieces.regions])

    def _mask(self, region: int) -> torch.Tensor:
        if self._last[0] != region:
            mine = (entry for entry in self._schema.each_tensor if entry.region == region)
            self._last = region, mask(mine, self._schema.regions.nbytes[region])
        return self._last[1]
