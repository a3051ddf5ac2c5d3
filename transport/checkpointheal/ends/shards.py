"""How do local shards become a ShardedTensor again?

Where this process has a default process group that knows the ranks of the whole; without one they stay a list. Must not
know where they came from.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed._shard.metadata import ShardMetadata
from torch.distributed._shard.sharded_tensor.api import ShardedTensor
from torch.distributed._shard.sharded_tensor.metadata import ShardedTensorMetadata, TensorProperties
from torch.distributed._shard.sharded_tensor.shard import Shard

from checkpointheal.contract.layout import Difference, Sharding
from checkpointheal.errors import SchemaDiffers
from checkpointheal.manifest.dtypes import BY_NAME


def shard_again(shards: Sequence[torch.Tensor], sharding: Sharding, path: str) -> Any:
    """The ShardedTensor of which this rank holds these shards; the bare list where there is no default group.

    Raises SchemaDiffers where the whole and what is here do not fit, or the group has other ranks.
    """
    if not dist.is_available() or not dist.is_initialized():
        return list(shards)
    try:
        return _assemble(shards, sharding)
    except (ValueError, RuntimeError, LookupError) as error:
        ranks = f"rank {dist.get_rank()} of {dist.get_world_size()}"
        offered = f"{len(sharding.local)} of {len(sharding.shards)} shards ({error})"
        raise SchemaDiffers([Difference(path=path, what="placement", offered=offered, target=ranks)]) from error


def _assemble(shards: Sequence[torch.Tensor], sharding: Sharding) -> Any:
    here = f"rank:{dist.get_rank()}"
    local = [
        Shard(tensor, ShardMetadata(list(place.offsets), list(place.sizes), f"{here}/{tensor.device}"))
        for tensor, place in zip(shards, sharding.local, strict=True)
    ]
    whole = ShardedTensorMetadata(
        [ShardMetadata(list(place.offsets), list(place.sizes), place.holder) for place in sharding.shards],
        torch.Size(sharding.global_shape),
        _properties(sharding),
    )
    return ShardedTensor._init_from_local_shards_and_global_metadata(local, whole)  # noqa: SLF001 - PyTorch's own way


def _properties(sharding: Sharding) -> TensorProperties:
    facts = {
        "dtype": BY_NAME[sharding.dtype],
        "requires_grad": sharding.requires_grad,
        "memory_format": getattr(torch, sharding.memory_format),
        "pin_memory": False,  # what arrives in new memory is not pinned
        "strides": sharding.strides,
    }
    known = {field.name for field in dataclasses.fields(TensorProperties)}  # torch 2.6 does not keep the strides
    return TensorProperties(**{name: fact for name, fact in facts.items() if name in known})
