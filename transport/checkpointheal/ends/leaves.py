"""How does a staged state become a state dict: tensors of its own, or the target's, filled?

Must not know how the bytes came.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.distributed.device_mesh import DeviceMesh

from checkpointheal.contract.layout import Manifest, Schema, TensorEntry
from checkpointheal.ends.placements import distribute
from checkpointheal.errors import SchemaDiffers
from checkpointheal.manifest import Described, compare, describe, values
from checkpointheal.manifest.dtypes import BY_NAME
from checkpointheal.manifest.tree import Leaves, grow, plant


class Target:
    """A live state that is to be filled in place."""

    def __init__(self, state: Any) -> None:
        """Raises UnsupportedLeaf that names a leaf that cannot be filled."""
        self._described: Described = describe(state)
        leaves = Leaves()
        plant(state, leaves)
        self._tensors = [tensor for _, tensor in leaves.tensors]

    def require_fit(self, offered: Schema) -> None:
        """Raises SchemaDiffers, naming each difference, where the offered state cannot go here."""
        if differences := compare(offered, self._described.schema):
            raise SchemaDiffers(differences)

    def fill(self, manifest: Manifest, regions: Sequence[torch.Tensor]) -> Any:
        """Copy verified regions into the live memory; the state dict, its tensors the target's own."""
        for live, staged in zip(self._described.regions, regions, strict=True):
            live.copy_(staged)
        return _grow(manifest, self._tensors)


def make(manifest: Manifest, regions: Sequence[torch.Tensor], mesh: DeviceMesh | None = None) -> Any:
    """A state dict whose tensors view the regions: tied ones stay tied. A DTensor without a mesh is its shard."""
    return _grow(manifest, [_leaf(entry, regions[entry.region], mesh) for entry in manifest.schema_.tensors])


def _grow(manifest: Manifest, tensors: Sequence[torch.Tensor]) -> Any:
    plain = [values.decode(value) for value in manifest.values]
    return grow(manifest.schema_.tree, tensors.__getitem__, plain.__getitem__)


def _leaf(entry: TensorEntry, region: torch.Tensor, mesh: DeviceMesh | None) -> torch.Tensor:
    local = _view(entry, region)
    if mesh is not None and entry.placement is not None:
        local = distribute(local, entry.placement, mesh)
    if entry.kind == "parameter":
        return torch.nn.Parameter(local, requires_grad=entry.requires_grad)
    return local.requires_grad_(entry.requires_grad)


def _view(entry: TensorEntry, region: torch.Tensor) -> torch.Tensor:
    dtype = BY_NAME[entry.dtype]
    if 0 in entry.shape:
        return torch.empty_strided(entry.shape, entry.stride, dtype=dtype)
    start = entry.offset // dtype.itemsize
    return torch.empty(0, dtype=dtype).set_(region.untyped_storage(), start, entry.shape, entry.stride)
