"""A DTensor crosses as its local shard, and is one again on the mesh of whoever receives it."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.distributed.tensor.placement_types import _StridedShard

import builders_ends
import builders_pg as build
from checkpointheal.contract.layout import Placement
from checkpointheal.ends.placements import Meshes
from checkpointheal.errors import PeerRefused, SchemaDiffers


@pytest.fixture
def mesh() -> Iterator[Any]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1, 1), mesh_dim_names=("replica", "shard"))
    dist.destroy_process_group()


PLACEMENTS = {
    "sharded": (Replicate(), Shard(0)),
    "sharded twice": (Shard(1), Shard(0)),
    "replicated": (Replicate(), Replicate()),
    "partial": (Replicate(), Partial("max")),
    "sharded by stride": (_StridedShard(0, split_factor=1), Shard(0)),
}


@pytest.mark.parametrize("placements", PLACEMENTS.values(), ids=PLACEMENTS.keys())
def test_a_dtensor_is_filled_on_its_own_mesh(mesh: Any, placements: Any) -> None:
    def distributed(local: torch.Tensor) -> DTensor:
        return DTensor.from_local(local, mesh, placements, run_check=False)

    state, target = {"w": distributed(torch.randn(6, 4))}, {"w": distributed(torch.zeros(6, 4))}
    received = build.cross(state, target)
    assert received["w"] is target["w"]
    assert torch.equal(target["w"].to_local(), state["w"].to_local())
    assert received["w"].placements == placements


def test_a_dtensor_of_another_placement_is_refused_by_name(mesh: Any) -> None:
    state = {"w": DTensor.from_local(torch.randn(6, 4), mesh, (Replicate(), Shard(0)), run_check=False)}
    target = {"w": DTensor.from_local(torch.zeros(6, 4), mesh, (Replicate(), Shard(1)), run_check=False)}
    with pytest.raises(SchemaDiffers, match="w: placement"):
        build.cross(state, target)


def received_on(mesh: Any, state: object) -> list[Any]:
    giving, taking = builders_ends.gloo_groups()
    receiver = build.PGTransport(taking, build.timedelta(seconds=20), build.CPU, mesh=mesh)
    return builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint([1], state), lambda: receiver.recv_checkpoint(0)
    )


@pytest.mark.parametrize("placements", PLACEMENTS.values(), ids=PLACEMENTS.keys())
def test_a_dtensor_is_laid_out_on_the_receivers_mesh(mesh: Any, placements: Any) -> None:
    local = torch.randn(6, 4)
    sent = DTensor.from_local(local, mesh, placements, run_check=False)
    _, received = received_on(mesh, {"w": sent, "plain": local, "p": torch.nn.Parameter(sent.detach())})
    assert isinstance(received["w"], DTensor)
    assert (received["w"].placements, received["w"].shape, received["w"].stride()) == (
        placements,
        sent.shape,
        sent.stride(),
    )
    assert torch.equal(received["w"].to_local(), local)
    assert received["w"].to_local().untyped_storage().data_ptr() == received["plain"].untyped_storage().data_ptr()
    assert not isinstance(received["plain"], DTensor)


def test_without_a_mesh_a_dtensor_is_its_local_tensor(mesh: Any) -> None:
    sent = DTensor.from_local(torch.randn(6, 4), mesh, (Replicate(), Shard(0)), run_check=False)
    received = build.cross({"w": sent})
    assert build.same(received, {"w": sent.to_local()})


def test_a_mesh_of_another_shape_is_refused_by_name_on_both_sides(mesh: Any) -> None:
    flat = init_device_mesh("cpu", (1,))
    sent = DTensor.from_local(torch.randn(6, 4), mesh, (Replicate(), Shard(0)), run_check=False)
    gave, took = received_on(flat, {"w": sent})
    assert isinstance(took, SchemaDiffers)
    assert "w: placement is ['Replicate()', 'Shard(dim=0)'] of [6, 4] on [1, 1], here a mesh of [1]" in str(took)
    assert isinstance(gave, PeerRefused)


def test_a_mesh_without_this_rank_is_refused_by_name(mesh: Any) -> None:
    elsewhere = DeviceMesh("cpu", [[7]], _init_backend=False)
    sent = DTensor.from_local(torch.randn(6, 4), mesh, (Replicate(), Shard(0)), run_check=False)
    gave, took = received_on(elsewhere, {"w": sent})
    assert isinstance(took, SchemaDiffers)
    assert "here a mesh of [1, 1] that this rank is no part of" in str(took)
    assert isinstance(gave, PeerRefused)


@pytest.mark.parametrize(
    "word",
    ["os.system('id')", "Shard(dim=0) ", "Partial(lambda)", "Shard(0)", "_MaskPartial(sum)", "", "Shard(dim=9999)"],
)
def test_a_placement_that_is_none_of_ours_is_refused(mesh: Any, word: str) -> None:
    placement = Placement(
        global_shape=(2,),
        global_stride=(1,),
        placements=("Replicate()", word),
        mesh_shape=(1, 1),
        mesh_dim_names=None,
        mesh_coordinate=None,
    )
    with pytest.raises(SchemaDiffers, match="w: placement"):
        Meshes(mesh, "cpu").require([("w", placement)])
