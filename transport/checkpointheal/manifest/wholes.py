"""Which tensors are more than a view of memory, and how do they look from outside?

A DTensor, a ShardedTensor and a tensor class that wraps other tensors: their bytes are those of the tensors inside.
torch's modules for them are not imported here, since who has none needs none. Must not know trees.
"""

from typing import Any

import torch

from checkpointheal.contract.layout import Outer, Placement, Sharding, ShardPlace
from checkpointheal.manifest.dtypes import name_of

PLAIN = (torch.Tensor, torch.nn.Parameter)
"""torch's own classes: a view of memory and nothing else."""


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether it is torch's own class: a view of memory and nothing else."""
    return type(tensor) in PLAIN


def is_leaf(tensor: torch.Tensor) -> bool:
    """Whether its bytes, or those of its local shard, are a view of memory."""
    return is_plain(tensor) or (is_dtensor(tensor) and is_plain(local_of(tensor)))


def is_dtensor(tensor: torch.Tensor) -> bool:
    """Whether it is a DTensor."""
    return not is_plain(tensor) and hasattr(tensor, "device_mesh") and hasattr(tensor, "to_local")


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether it is a ShardedTensor."""
    return not is_plain(tensor) and hasattr(tensor, "local_shards") and hasattr(tensor, "sharding_spec")


def local_of(tensor: Any) -> torch.Tensor:
    """A DTensor's local shard, arrived; any other tensor itself."""
    local: Any = tensor.to_local() if is_dtensor(tensor) else tensor
    if type(local).__name__ == "AsyncCollectiveTensor":
        local = local.wait()
    return local  # type: ignore[no-any-return]


def outer_of(tensor: torch.Tensor) -> Outer:
    """How it looks from outside."""
    return Outer(
        shape=tuple(tensor.shape),
        stride=tuple(tensor.stride()),
        requires_grad=tensor.requires_grad,
        parameter=isinstance(tensor, torch.nn.Parameter),
        placement=placement_of(tensor) if is_dtensor(tensor) else None,
    )


def placement_of(tensor: Any) -> Placement:
    """Where a DTensor's local shard lies. Replicas of a shard say the same: they hold the same state."""
    mesh = tensor.device_mesh
    coordinate = mesh.get_coordinate()
    if coordinate is not None:
        along = zip(coordinate, tensor.placements, strict=True)
        coordinate = [0 if placement.is_replicate() else place for place, placement in along]
    return Placement(
        global_shape=tuple(tensor.shape),
        global_stride=tuple(tensor.stride()),
        placements=tuple(repr(placement) for placement in tensor.placements),
        mesh_shape=tuple(mesh.shape),
        mesh_dim_names=tuple(mesh.mesh_dim_names) if mesh.mesh_dim_names else None,
        mesh_coordinate=tuple(coordinate) if coordinate is not None else None,
    )


def is_laid_out(tensor: Any, placed: Placement) -> bool:
    """Whether it is a DTensor that is cut so, whatever its ranks."""
    if not is_dtensor(tensor):
        return False
    here = placement_of(tensor)
    told = (placed.placements, placed.mesh_shape, placed.global_shape)
    return (here.placements, here.mesh_shape, here.global_shape) == told


def sharding_of(tensor: Any) -> Sharding:
    """A ShardedTensor without its bytes."""
    whole = tensor.metadata()
    facts = whole.tensor_properties
    strides = getattr(facts, "strides", None)  # torch 2.6 does not keep them
    return Sharding(
        global_shape=tuple(whole.size),
        dtype=name_of(facts.dtype),
        requires_grad=facts.requires_grad,
        memory_format=str(facts.memory_format).removeprefix("torch."),
        pinned=facts.pin_memory,
        strides=None if strides is None else tuple(strides),
        shards=tuple(_place(each) for each in whole.shards_metadata),
        local=tuple(_place(shard.metadata) for shard in tensor.local_shards()),
    )


def told(tensor: torch.Tensor) -> str:
    """What it is, for who is told that it cannot cross."""
    return f"{type(tensor).__name__} of {tensor.layout} {tensor.dtype} on {tensor.device}"


def helps(tensor: torch.Tensor) -> str | None:
    """What makes it one that can cross; None where nothing is known that does."""
    if torch.nn.parameter.is_lazy(tensor):
        return "it is made by its module's first forward: run one before"
    if tensor.is_meta:
        return "it has no memory yet: call to_empty() on its module, or leave it out"
    if tensor.is_quantized:
        return "give its dequantize(), or its int_repr() and scales"
    if tensor.is_nested:
        return "give its unbind()"
    if tensor._is_zerotensor():  # noqa: SLF001 - torch has no other word for it
        return "give its clone()"
    return None if tensor.layout == torch.strided else "give its to_dense(), or its indices and values"


def _place(shard: Any) -> ShardPlace:
    return ShardPlace(offsets=shard.shard_offsets, sizes=shard.shard_sizes, holder=str(shard.placement))
