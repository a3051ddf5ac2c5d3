"""What PyTorch's own suite sends around a ring of ranks goes around ours: over gloo and over NCCL."""

import os
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed._shard.sharded_tensor import Shard, ShardMetadata, init_from_local_shards
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, distribute_tensor
from torch.distributed.tensor import Shard as Sharded

import builders_ends
import builders_pg as build
import children
from checkpointheal import PGTransport
from checkpointheal.errors import PeerRefused, SchemaDiffers

pytestmark = pytest.mark.filterwarnings("ignore:Please use DTensor instead")
"""torch's word on ShardedTensor, which upstream carries."""
GPUS = torch.cuda.device_count()
BACKENDS = [
    pytest.param("gloo", 8, id="eight gloo ranks"),
    pytest.param(
        "nccl",
        GPUS,
        id="NCCL ranks",
        marks=pytest.mark.skipif(GPUS < 2, reason=f"NCCL needs two CUDA devices, {GPUS} are here"),
    ),
]
on_ranks = pytest.mark.parametrize(("backend", "world"), BACKENDS)


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """What torch imports with the first DTensor takes seconds: once, before the ranks are forked."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    distribute_tensor(torch.ones(2), init_device_mesh("cpu", (1,)), [Sharded(0)]).full_tensor()
    dist.destroy_process_group()


def at_each_rank(backend: str, world: int, folder: Path, act: Callable[[int, int, torch.device], None]) -> None:
    """Do it in as many processes as ranks; whatever fails in one of them fails here, with its own words."""

    def rank_of_its_own(rank: int) -> None:
        torch.set_num_threads(1)  # a forked process has none of its parent's threads
        device = torch.device("cuda", rank) if backend == "nccl" else build.CPU
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        try:
            store = dist.FileStore(str(folder / "store"), world)
            dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timedelta(seconds=60))
            act(rank, world, device)
            store.set(f"done/{rank}", "")
            store.wait([f"done/{each}" for each in range(world)])  # who leaves early breaks what others wait for
            dist.destroy_process_group()
        except BaseException:
            (folder / f"failed-{rank}").write_text(traceback.format_exc())
            os._exit(1)

    ranks = [children.fork(lambda rank=rank: rank_of_its_own(rank)) for rank in range(world)]
    statuses = [children.wait(rank) for rank in ranks]
    told = "\n".join(f"{path.name}: {path.read_text()}" for path in sorted(folder.glob("failed-*")))
    assert statuses == [0] * world, told


def around(rank: int, world: int, device: torch.device, state: Any, target: Any = None, **options: Any) -> Any:
    """Send to the next rank and receive from the one before, as PyTorch's suite does."""
    callback = None if target is None else (lambda: target)
    transport = PGTransport(dist.group.WORLD, timedelta(seconds=60), device, callback, **options)
    if rank == 0:
        transport.send_checkpoint([(rank + 1) % world], state)
        return transport.recv_checkpoint((rank - 1) % world)
    received = transport.recv_checkpoint((rank - 1) % world)
    transport.send_checkpoint([(rank + 1) % world], state)
    return received


def a_model(device: torch.device) -> torch.nn.Module:
    torch.manual_seed(42)
    return torch.nn.Sequential(torch.nn.Linear(10, 10), torch.nn.ReLU(), torch.nn.Linear(10, 10)).to(device)


def on_cpu(state: Any) -> Any:
    return torch.utils._pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.cpu(), state)


@on_ranks
def test_ring_send_and_receive_of_a_models_state_dict(backend: str, world: int, tmp_path: Path) -> None:
    def act(rank: int, world: int, device: torch.device) -> None:
        state = a_model(device).state_dict()
        received = around(rank, world, device, state)
        assert build.same(received, on_cpu(state))

    at_each_rank(backend, world, tmp_path, act)


@on_ranks
def test_ring_of_mixed_content(backend: str, world: int, tmp_path: Path) -> None:
    def act(rank: int, world: int, device: torch.device) -> None:
        mesh = init_device_mesh(device.type, (world,))
        torch.manual_seed(1)
        state = {
            **dict(a_model(device).named_parameters()),
            "dtensor": DTensor.from_local(torch.randn(10, 10, device=device), mesh),
            "non-tensor": "some string",
            "nested": {"tensor": torch.randn(1, 2), "value": 42},
            "list": [1, 2, 3],
        }
        received = around(rank, world, device, state)
        sent = state.pop("dtensor"), received.pop("dtensor")
        assert isinstance(sent[1], DTensor), "laid out on the default group, as PyTorch's own does"
        assert (sent[1].device_mesh, sent[1].placements, sent[1].shape) == (mesh, sent[0].placements, sent[0].shape)
        assert torch.equal(sent[1].to_local(), sent[0].to_local().cpu())
        assert build.same(received, on_cpu(state))

    at_each_rank(backend, world, tmp_path, act)


def a_sharded(rank: int, world: int, device: torch.device, fill: float | None = None) -> Any:
    rows = 64 // world
    start = rank * rows
    local = torch.arange(start * 8, (start + rows) * 8, dtype=torch.float32, device=device).reshape(rows, 8)
    place = ShardMetadata(shard_offsets=[start, 0], shard_sizes=[rows, 8], placement=f"rank:{rank}/{device}")
    shard = Shard(tensor=local if fill is None else torch.full_like(local, fill), metadata=place)
    return init_from_local_shards([shard], rows * world, 8)


@on_ranks
def test_ring_of_sharded_tensors_with_local_shards_and_global_metadata(
    backend: str, world: int, tmp_path: Path
) -> None:
    def act(rank: int, world: int, device: torch.device) -> None:
        sent = a_sharded(rank, world, device)
        received = around(rank, world, device, {"sharded": sent, "scalar": torch.tensor(float(rank), device=device)})
        before = (rank - 1) % world
        rows = 64 // world
        assert received["scalar"] == torch.tensor(float(before))
        (shard,) = received["sharded"].local_shards()
        expected = torch.arange(before * rows * 8, (before + 1) * rows * 8, dtype=torch.float32).reshape(rows, 8)
        assert torch.equal(shard.tensor, expected)
        assert shard.metadata.shard_offsets == [before * rows, 0]
        assert str(shard.metadata.placement) == f"rank:{rank}/cpu"
        assert received["sharded"].metadata().shards_metadata == sent.metadata().shards_metadata
        assert received["sharded"].size() == sent.size()

    at_each_rank(backend, world, tmp_path, act)


def test_sharded_tensors_are_filled_in_place(tmp_path: Path) -> None:
    def act(rank: int, world: int, device: torch.device) -> None:
        sent, live = a_sharded(rank, world, device), a_sharded(rank, world, device, 0.0)
        address = live.local_shards()[0].tensor.data_ptr()
        received = build.cross({"sharded": sent}, {"sharded": live})
        assert received["sharded"] is live
        assert live.local_shards()[0].tensor.data_ptr() == address
        assert torch.equal(live.local_shards()[0].tensor, sent.local_shards()[0].tensor)

    at_each_rank("gloo", 4, tmp_path, act)


def test_a_shard_of_another_place_is_refused_by_name_in_place_and_out_of_it(tmp_path: Path) -> None:
    def act(rank: int, world: int, device: torch.device) -> None:
        live = {"sharded": a_sharded(rank, world, device, 0.0)}
        group, peer = dist.group.WORLD, 1 - rank
        if rank == 0:
            with pytest.raises(PeerRefused, match="sharded: placement is"):
                PGTransport(group, timedelta(seconds=60), device).send_checkpoint([peer], live)
        else:
            with pytest.raises(SchemaDiffers, match="sharded: placement is"):
                PGTransport(group, timedelta(seconds=60), device, lambda: live).recv_checkpoint(peer)

    at_each_rank("gloo", 2, tmp_path, act)


PLACEMENTS: dict[str, tuple[tuple[int, ...], list[Any], tuple[int, ...]]] = {
    "uneven shards": ((4,), [Sharded(0)], (7, 3)),
    "fewer rows than ranks": ((4,), [Sharded(0)], (2, 3)),
    "two dimensions": ((2, 2), [Sharded(0), Sharded(1)], (5, 5)),
    "replicated and sharded": ((2, 2), [Replicate(), Sharded(0)], (5, 2)),
    "sharded twice, unevenly": ((2, 2), [Sharded(0), Sharded(0)], (7, 2)),
}


@pytest.mark.parametrize(("shape", "placements", "size"), PLACEMENTS.values(), ids=PLACEMENTS)
def test_dtensors_of_several_ranks_are_filled_in_place_and_laid_out_on_a_mesh(
    shape: Any, placements: Any, size: Any, tmp_path: Path
) -> None:
    def act(rank: int, world: int, device: torch.device) -> None:
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=tuple("ab"[: len(shape)]))
        torch.manual_seed(3)
        sent = distribute_tensor(torch.randn(size), mesh, placements)
        live = distribute_tensor(torch.zeros(size), mesh, placements)
        assert build.cross({"w": sent}, {"w": live})["w"] is live
        assert torch.equal(live.to_local(), sent.to_local())
        assert torch.equal(live.full_tensor(), sent.full_tensor())
        partial = DTensor.from_local(torch.ones(2), mesh, [Partial("max")] * len(shape), run_check=False)
        received = cross_on(mesh, {"w": sent, "sum": partial})
        assert (received["w"].shape, received["w"].stride()) == (sent.shape, sent.stride())
        assert (received["w"].placements, received["sum"].placements) == (sent.placements, partial.placements)
        assert torch.equal(received["w"].full_tensor(), sent.full_tensor())

    at_each_rank("gloo", 4, tmp_path, act)


def cross_on(mesh: Any, state: Any) -> Any:
    giving, taking = builders_ends.gloo_groups()
    receiver = PGTransport(taking, timedelta(seconds=60), build.CPU, mesh=mesh)
    gave, received = builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint([1], state), lambda: receiver.recv_checkpoint(0)
    )
    assert gave is None
    return received
