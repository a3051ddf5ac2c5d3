"""What does a placement's word mean, and how does a local shard become a DTensor again?

A closed table: no class is looked up by a name that was received. Must not know where the shard came from.
"""

import re
from collections.abc import Callable, Mapping

import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.distributed.tensor.placement_types import Placement as Placed
from torch.distributed.tensor.placement_types import _StridedShard

from checkpointheal.contract.layout import Difference, Placement, Schema
from checkpointheal.errors import SchemaDiffers

_READERS: Mapping[re.Pattern[str], Callable[..., Placed]] = {
    re.compile(r"Shard\(dim=(-?\d{1,3})\)"): lambda dim: Shard(int(dim)),
    re.compile(r"Replicate\(\)"): Replicate,
    re.compile(r"Partial\((sum|avg|product|min|max|band|bor|bxor)\)"): Partial,
    re.compile(r"_StridedShard\(dim=(-?\d{1,3}), sf=(\d{1,9})\)"): lambda dim, factor: _StridedShard(
        int(dim), split_factor=int(factor)
    ),
}


def require_mesh(schema: Schema, mesh: DeviceMesh) -> None:
    """Raises SchemaDiffers, naming each DTensor that cannot be laid out on this mesh."""
    differences = [
        Difference(path=entry.path, what="placement", offered=_told(entry.placement), target=_told_mesh(mesh))
        for entry in schema.tensors
        if entry.placement is not None and not _fits(entry.placement, mesh)
    ]
    if differences:
        raise SchemaDiffers(differences)


def distribute(local: torch.Tensor, placement: Placement, mesh: DeviceMesh) -> DTensor:
    """The DTensor whose local shard this is; `require_mesh` came before."""
    return DTensor.from_local(
        local,
        mesh,
        [placed for word in placement.placements if (placed := _read(word)) is not None],
        run_check=False,
        shape=torch.Size(placement.global_shape),
        stride=placement.global_stride,
    )


def _fits(placement: Placement, mesh: DeviceMesh) -> bool:
    words = placement.placements
    alike = tuple(mesh.shape) == placement.mesh_shape and len(words) == len(placement.mesh_shape)
    return alike and all(_read(word) is not None for word in words)


def _read(word: str) -> Placed | None:
    found = ((reader, match) for pattern, reader in _READERS.items() if (match := pattern.fullmatch(word)))
    return next((reader(*match.groups()) for reader, match in found), None)


def _told(placement: Placement) -> str:
    return f"{list(placement.placements)} of {list(placement.global_shape)} on {list(placement.mesh_shape)}"


def _told_mesh(mesh: DeviceMesh) -> str:
    return f"a mesh of {list(mesh.shape)}"
