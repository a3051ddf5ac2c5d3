"""Where do a state's regions lie in this process?

Each as a view of its bytes, which is made when it is asked for; and, in CPU memory, as an address: of ten thousand
small regions most are only ever copied, and views cost more than the copies. Must not know schemas.
"""

from collections.abc import Sequence
from typing import Self, overload

import torch

from checkpointheal.contract.cut import Pieces
from checkpointheal.errors import Misuse


class Places(Sequence[torch.Tensor]):
    """Regions of storages, which are kept alive: 1-D uint8 views, in the schema's order."""

    def __init__(
        self, storages: Sequence[torch.UntypedStorage], starts: Sequence[int], lengths: Sequence[int], *, on_cpu: bool
    ) -> None:
        self._storages, self._starts, self._lengths, self._on_cpu = storages, starts, lengths, on_cpu
        self._views: dict[int, torch.Tensor] = {}

    @classmethod
    def within(cls, memory: torch.Tensor, starts: Sequence[int], lengths: Sequence[int]) -> Self:
        """Regions of one new tensor."""
        return cls([memory.untyped_storage()] * len(lengths), starts, lengths, on_cpu=memory.is_cpu)

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, at: int) -> torch.Tensor: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[torch.Tensor, ...]: ...
    def __getitem__(self, at: int | slice) -> torch.Tensor | tuple[torch.Tensor, ...]:
        if isinstance(at, slice):
            return tuple(self[each] for each in range(*at.indices(len(self))))
        view = self._views.get(at)
        if view is None:
            view = self._views[at] = self._view(at)
        return view

    def _view(self, at: int) -> torch.Tensor:
        storage, length = self._storages[at], self._lengths[at]
        empty = torch.empty(0, dtype=torch.uint8, device=storage.device)
        return empty.set_(storage, self._starts[at], (length,), (1,)) if length else empty

    def addresses(self, pieces: Pieces) -> list[int] | None:
        """Where these pieces lie; None: not all of it in CPU memory. Raises Misuse where memory was taken away."""
        if not self._on_cpu:
            return None
        starts = [self._starts[at] for at in pieces.regions]
        if any(pieces.in_region):
            starts = list(map(int.__add__, starts, pieces.in_region))
        storages = [self._storages[at] for at in pieces.regions]
        if any(
            start + count > storage.nbytes()
            for start, count, storage in zip(starts, pieces.nbytes, storages, strict=True)
        ):
            raise Misuse("a tensor's storage was resized while its state was under way")
        return [storage.data_ptr() + start for storage, start in zip(storages, starts, strict=True)]


def addresses(regions: Sequence[torch.Tensor], pieces: Pieces) -> list[int] | None:
    """The same of any regions."""
    if isinstance(regions, Places):
        return regions.addresses(pieces)
    found = [regions[at] for at in pieces.regions]
    if not all(type(each) is torch.Tensor and each.is_cpu and each.is_contiguous() for each in found):
        return None
    for region, inside, count in zip(found, pieces.in_region, pieces.nbytes, strict=True):
        if inside + count > region.numel():
            raise Misuse(f"{inside + count} bytes are taken of a region of {region.numel()}")
    return [region.data_ptr() + inside for region, inside in zip(found, pieces.in_region, strict=True)]
