"""Where do the tensors of a state lie that is made anew, and which of them are one?

One memory for each region: new, or that of a live tensor. What looks alike and lies at one place is one tensor, unless
live ones tell that it is two. Must not know trees.
"""

from typing import Any

import torch

from checkpointheal.contract.layout import Schema, TensorEntry
from checkpointheal.manifest.looks import form_of
from checkpointheal.manifest.wholes import is_laid_out, is_leaf, local_of


class Memories:
    """Those of one state, each made when the first tensor of its region is asked for, unless it is told."""

    def __init__(self, schema: Schema, section: torch.Tensor) -> None:
        self.entries = schema.each_tensor
        self._regions, self._section = schema.regions, section
        self._made: dict[int, torch.Tensor] = {}
        self._told: set[int] = set()
        self._tensors: dict[TensorEntry, list[tuple[Any, Any]]] = {}

    def lie_with(self, entry: TensorEntry, live: torch.Tensor) -> None:
        """The region of this entry is where it is live, if all of it is there."""
        if entry.region not in self._told:
            self._tell(entry, local_of(live))
        if self._is_there(entry, live):
            self.keep(entry, live, live)

    def of(self, region: int, device: torch.device) -> torch.Tensor:
        """On that device, unless it was made before."""
        if region not in self._made:
            offset, nbytes = self._regions.offsets[region], self._regions.nbytes[region]
            self._made[region] = self._section[offset : offset + nbytes].to(device, copy=True)
        return self._made[region]

    def there(self, entry: TensorEntry, live: torch.Tensor | None) -> torch.Tensor | None:
        """The tensor that is this one already, by its own name or by another; None: none is.

        `live`: that of its path, if there is one.
        """
        if live is not None and self._is_there(entry, live):
            return live
        alike = self._tensors.get(entry._replace(path=""), ())
        return next((tensor for other, tensor in alike if not _are_two(live, other)), None)

    def keep(self, entry: TensorEntry, live: torch.Tensor | None, tensor: torch.Tensor) -> None:
        """From now on it is there."""
        self._tensors.setdefault(entry._replace(path=""), []).append((live, tensor))

    def _tell(self, entry: TensorEntry, local: torch.Tensor) -> None:
        nbytes, storage = self._regions.nbytes[entry.region], local.untyped_storage()
        begin = local.storage_offset() * local.itemsize - entry.offset
        if begin >= 0 and begin + nbytes <= storage.nbytes():
            memory = torch.empty(0, dtype=torch.uint8, device=local.device)
            self._made[entry.region] = memory.set_(storage, begin, (nbytes,), (1,))
            self._told.add(entry.region)

    def _is_there(self, entry: TensorEntry, live: torch.Tensor) -> bool:
        """Whether it lies in a memory that was told, where this entry does, and looks so."""
        if entry.region not in self._told or not _is_as(entry, live):
            return False
        return _place_of(live) == _place_of(self._made[entry.region], entry.offset)


def _is_as(entry: TensorEntry, live: torch.Tensor) -> bool:
    """Whether a live tensor looks so, wherever it lies."""
    if not (is_leaf(live) and live.is_leaf):
        return False
    form, placed = form_of(live), entry.placement
    told = (entry.dtype, entry.shape, entry.stride, entry.kind, entry.requires_grad)
    looks_so = told == (form.dtype, form.shape, form.stride, form.kind, form.requires_grad)
    return looks_so and (placed is None or is_laid_out(live, placed))


def _are_two(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    """Of live tensors, whether they share their memory though they are not the same."""
    if one is None or other is None or one is other:
        return False
    return _place_of(one) == _place_of(other)


def _place_of(tensor: torch.Tensor, offset: int = 0) -> tuple[Any, ...]:
    local = local_of(tensor)
    storage = local.untyped_storage()
    return storage.device, storage.data_ptr(), local.storage_offset() * local.itemsize + offset
