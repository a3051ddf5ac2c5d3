"""Over a stable group everything that torch builds of collectives gives what it gives over torch's own group."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from builders_level2 import with_fsdp2
from checkpointheal.trainer import groups as room
from checkpointheal.trainer.faults import Faults
from children import fork, wait

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning", "ignore::FutureWarning")

RANKS = 2
ROW = torch.arange(16.0)


def mine() -> torch.Tensor:
    return ROW + 100 * dist.get_rank()


def sharded(mesh: DeviceMesh, dim: int = 0) -> DTensor:
    return distribute_tensor(ROW.view(4, 4), mesh, [Shard(dim)])


def product(mesh: DeviceMesh) -> DTensor:
    return sharded(mesh, 1) @ sharded(mesh, 0)


def norm_of_a_wrapped_model(mesh: DeviceMesh) -> torch.Tensor:
    torch.manual_seed(0)
    model = fully_shard(nn.Linear(4, 4), mesh=mesh)
    model(mine().view(4, 4)).sum().backward()
    return nn.utils.clip_grad_norm_(model.parameters(), 1.0).full_tensor()


def each_to_the_other(mesh: DeviceMesh) -> torch.Tensor:
    peer, arrived = 1 - dist.get_rank(), torch.zeros(16)
    sent, received = dist.P2POp(dist.isend, mine(), peer), dist.P2POp(dist.irecv, arrived, peer)
    for work in dist.batch_isend_irecv([sent, received]):
        work.wait()
    return arrived


def from_whoever_sends(mesh: DeviceMesh) -> list[Any]:
    arrived = torch.zeros(16)
    if dist.get_rank() == 0:
        dist.send(mine(), 1)
        return []
    return [dist.recv(arrived), arrived]


def objects(mesh: DeviceMesh) -> list[Any]:
    everybodys: list[Any] = [None] * RANKS
    dist.all_gather_object(everybodys, {"rank": dist.get_rank()})
    roots: list[Any] = [dist.get_rank()]
    dist.broadcast_object_list(roots, src=1)
    return [everybodys, roots]


WAYS: Mapping[str, Callable[[DeviceMesh], Any]] = {
    "a whole DTensor": lambda mesh: sharded(mesh).full_tensor(),
    "an uneven DTensor": lambda mesh: distribute_tensor(torch.arange(7.0), mesh, [Shard(0)]).full_tensor(),
    "sharded another way": lambda mesh: sharded(mesh).redistribute(mesh, [Shard(1)]).to_local(),
    "a partial sum, whole": lambda mesh: product(mesh).full_tensor(),
    "a partial sum, sharded": lambda mesh: product(mesh).redistribute(mesh, [Shard(0)]).to_local(),
    "FSDP2's norm": norm_of_a_wrapped_model,
    "functional all_gather": lambda mesh: functional.all_gather_tensor(mine(), 0, mesh.get_group()).clone(),
    "functional reduce_scatter": lambda mesh: functional.reduce_scatter_tensor(
        mine(), "sum", 0, mesh.get_group()
    ).clone(),
    "functional all_to_all": lambda mesh: functional.all_to_all_single(mine(), None, None, mesh.get_group()).clone(),
    "each to the other": each_to_the_other,
    "from whoever sends": from_whoever_sends,
    "objects": objects,
}


def act(folder: Path, rank: int, begin: Callable[[dist.Store, int], None], path: Path) -> None:
    begin(dist.FileStore(str(folder / begin.__name__), RANKS), rank)
    mesh = init_device_mesh("cpu", (RANKS,))
    torch.save({name: way(mesh) for name, way in WAYS.items()}, path)


def as_torchs_own(store: dist.Store, rank: int) -> None:
    dist.init_process_group("gloo", store=store, rank=rank, world_size=RANKS)


def as_a_stable_group(store: dist.Store, rank: int) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(RANKS), CHECKPOINTHEAL_ARENA="nowhere")
    room.process_group()
    room.groups().settle()
    room.groups().open(store, Faults(), range(RANKS))


@with_fsdp2
def test_what_torch_builds_of_collectives_is_the_same(tmp_path: Path) -> None:
    kinds = (as_torchs_own, as_a_stable_group)
    paths = {(kind, rank): tmp_path / f"{kind.__name__}-{rank}.pt" for kind in kinds for rank in range(RANKS)}
    children = [
        fork(lambda kind=kind, rank=rank, path=path: act(tmp_path, rank, kind, path))
        for (kind, rank), path in paths.items()
    ]
    assert [wait(child) for child in children] == [0] * len(children)
    found = {key: torch.load(path) for key, path in paths.items()}
    for rank in range(RANKS):
        expected, seen = found[as_torchs_own, rank], found[as_a_stable_group, rank]
        assert seen.keys() == expected.keys()
        for name in WAYS:
            torch.testing.assert_close(seen[name], expected[name], rtol=0, atol=0, msg=f"{name} of rank {rank}")
