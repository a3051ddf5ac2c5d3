"""What does a placement's word mean, and how does a local shard become a DTensor again?

A closed table: no class is looked up by a name that was received. Must not know where the shard came from.
"""

import re
from collections.abc import Callable, Iterable, Mapping

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.distributed.tensor.placement_types import Placement as Placed
from torch.distributed.tensor.placement_types import _StridedShard

from checkpointheal.contract.layout import Difference, Placement
from checkpointheal.errors import SchemaDiffers

_READERS: Mapping[re.Pattern[str], Callable[..., Placed]] = {
    re.compile(r"Shard\(dim=(-?\d{1,3})\)"): lambda dim: Shard(int(dim)),
    re.compile(r"Replicate\(\)"): Replicate,
    re.compile(r"Partial\((sum|avg|product|min|max|band|bor|bxor)\)"): Partial,
    re.compile(r"_StridedShard\(dim=(-?\d{1,3}), sf=(\d{1,9})\)"): lambda dim, factor: _StridedShard(
        int(dim), split_factor=int(factor)
    ),
}


class Meshes:
    """Where DTensors are laid out again: on the given mesh, else on the default process group where it is as long."""

    def __init__(self, given: DeviceMesh | None, device_type: str) -> None:
        self._given, self._device_type = given, device_type

    def require(self, placed: Iterable[tuple[str, Placement | None]]) -> None:
        """Raises SchemaDiffers, naming each DTensor that cannot be laid out on the given mesh."""
        mesh = self._given
        differences = [
            Difference(path=path, what="placement", offered=_told(placement), target=_told_mesh(mesh))
            for path, placement in placed
            if mesh is not None and placement is not None and not _fits(placement, mesh)
        ]
        if differences:
            raise SchemaDiffers(differences)

    def distribute(self, local: torch.Tensor, placement: Placement | None) -> torch.Tensor:
        """The DTensor whose local shard this is; the shard itself where there is no mesh for it."""
        mesh = None if placement is None else self._given or self._world(placement)
        if placement is None or mesh is None or not _fits(placement, mesh):
            return local
        return DTensor.from_local(
            local,
            mesh,
            [placed for word in placement.placements if (placed := _read(word)) is not None],
            run_check=False,
            shape=torch.Size(placement.global_shape),
            stride=placement.global_stride,
        )

    def _world(self, placement: Placement) -> DeviceMesh | None:
        """As PyTorch's own transport does for such a mesh; several dimensions have groups that cannot be guessed."""
        world = dist.group.WORLD if dist.is_available() and dist.is_initialized() else None
        if world is None or placement.mesh_shape != (dist.get_world_size(),):
            return None
        return DeviceMesh.from_group(world, self._device_type, mesh_dim_names=placement.mesh_dim_names)


def _fits(placement: Placement, mesh: DeviceMesh) -> bool:
    words = placement.placements
    alike = tuple(mesh.shape) == placement.mesh_shape and len(words) == len(placement.mesh_shape)
    return alike and mesh.get_coordinate() is not None and all(_read(word) is not None for word in words)


def _read(word: str) -> Placed | None:
    found = ((reader, match) for pattern, reader in _READERS.items() if (match := pattern.fullmatch(word)))
    return next((reader(*match.groups()) for reader, match in found), None)


def _told(placement: Placement) -> str:
    return f"{list(placement.placements)} of {list(placement.global_shape)} on {list(placement.mesh_shape)}"


def _told_mesh(mesh: DeviceMesh) -> str:
    without = "" if mesh.get_coordinate() is not None else " that this rank is no part of"
    return f"a mesh of {list(mesh.shape)}{without}"
