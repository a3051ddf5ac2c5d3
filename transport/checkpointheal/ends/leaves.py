"""How does a staged state become a state dict of its own?

Must not know how the bytes came.
"""

from collections.abc import Collection, Sequence
from typing import Any

import torch

from checkpointheal.contract.layout import Difference, Manifest, Outer, Sharding, TensorEntry
from checkpointheal.ends.placements import Meshes
from checkpointheal.ends.shards import shard_again
from checkpointheal.manifest import values
from checkpointheal.manifest.classes import find
from checkpointheal.manifest.dtypes import BY_NAME
from checkpointheal.manifest.growing import Giver, as_outer, grow


class NewState:
    """A state in memory of its own: tensors view their regions, and tied ones stay tied.

    A DTensor without a mesh is its shard, a ShardedTensor without a default process group the list of its shards.
    """

    bridged: tuple[Difference, ...] = ()
    filled: tuple[torch.Tensor, ...] = ()

    def __init__(self, meshes: Meshes) -> None:
        self._meshes = meshes

    def require_fit(self, offered: Manifest) -> Collection[int]:
        """The regions that are needed: all. Everything of `fill` is rehearsed without the bytes.

        Raises UnknownClass, SchemaDiffers or BadFrame.
        """
        self._meshes.require((entry.path, entry.placement) for entry in offered.schema_.tensors)
        plain = [values.decode(value) for value in offered.values]
        grow(offered.schema_.tree, _Rehearsal(offered.schema_.tensors, plain, self._meshes))
        return range(len(offered.schema_.regions))

    def fill(self, manifest: Manifest, regions: Sequence[torch.Tensor]) -> Any:
        """The state dict, given verified regions."""
        plain = [values.decode(value) for value in manifest.values]
        tensors = [_leaf(entry, regions[entry.region], self._meshes) for entry in manifest.schema_.tensors]
        return grow(manifest.schema_.tree, _New(tensors, plain, self._meshes))


class _New(Giver):
    """New tensors, laid out as far as there is a mesh or a group for them."""

    def __init__(self, tensors: Sequence[Any], plain: Sequence[Any], meshes: Meshes) -> None:
        super().__init__(tensors, plain, {})
        self._meshes = meshes

    def distributed(self, local: Any, outer: Outer, path: str) -> Any:
        whole = self._meshes.distribute(local, outer.placement)
        return local if whole is local else as_outer(whole, outer)

    def sharded(self, shards: list[Any], sharding: Sharding, path: str) -> Any:
        return shard_again(shards, sharding, path)


class _Rehearsal(_New):
    """Asks for every class and makes nothing of it, but for ShardedTensors, which it makes without memory."""

    def thing(self, name: str, parts: Any, path: str) -> Any:
        find(name, {}, path)
        return name, str(parts)

    def wrapper(self, name: str, context: Any, inner: Any, outer: Outer, path: str) -> Any:
        find(name, {}, path)

    def distributed(self, local: Any, outer: Outer, path: str) -> Any:
        self._meshes.require([(path, outer.placement)])

    def sharded(self, shards: list[Any], sharding: Sharding, path: str) -> Any:
        shard_again([_shape_of(entry) for entry in shards], sharding, path)


def _shape_of(entry: TensorEntry) -> torch.Tensor:
    tensor = torch.empty_strided(entry.shape, entry.stride, dtype=BY_NAME[entry.dtype], device="meta")
    return tensor.requires_grad_(entry.requires_grad) if entry.requires_grad else tensor


def _leaf(entry: TensorEntry, region: torch.Tensor, meshes: Meshes) -> torch.Tensor:
    local = meshes.distribute(view_of(entry, region), entry.placement)
    if entry.kind in ("parameter", "dtensor parameter"):
        return torch.nn.Parameter(local, requires_grad=entry.requires_grad)
    return local.requires_grad_(entry.requires_grad) if entry.requires_grad else local


def view_of(entry: TensorEntry, region: torch.Tensor) -> torch.Tensor:
    """The tensor as a view of its staged region."""
    dtype = BY_NAME[entry.dtype]
    if 0 in entry.shape:
        return torch.empty_strided(entry.shape, entry.stride, dtype=dtype)
    start = entry.offset // dtype.itemsize
    return torch.empty(0, dtype=dtype).set_(region.untyped_storage(), start, entry.shape, entry.stride)
