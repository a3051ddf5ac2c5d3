"""A trainer under DDP or HSDP whose every update can be computed again by hand, from who was there at each step.

`away-RANK` in the folder keeps that rank's next process from coming to its first call of ours.
"""

import json
import os
import sys
import time
from hashlib import sha256
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

import checkpointheal

WIDTH = 8
PAUSE = 0.02
SHARDS = 2


def model() -> nn.Module:
    """In double precision: how sums are ordered does not show."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, 16), nn.Tanh(), nn.Linear(16, WIDTH)).double()


def optimizer_of(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(net.parameters(), lr=0.01)


def loss_of(net: nn.Module, rank: int, step: int) -> torch.Tensor:
    """Of this rank's batch for the step after `step`."""
    draws = torch.Generator().manual_seed(1000 * step + rank)
    points = torch.randn(16, WIDTH, generator=draws, dtype=torch.float64)
    return nn.functional.mse_loss(net(points), points.roll(1, dims=1))


def wrapped(net: nn.Module) -> nn.Module:
    if os.environ["WRAP"] == "ddp":
        group = checkpointheal.process_group()
        return DistributedDataParallel(net, process_group=group, find_unused_parameters=True)
    checkpointheal.process_group()
    shape = (dist.get_world_size() // SHARDS, SHARDS)
    return fully_shard(net, mesh=init_device_mesh("cpu", shape, mesh_dim_names=("replicate", "shard")))


def fingerprint(net: nn.Module) -> str:
    """Of what lies on this rank."""
    return sha256(b"".join(own(each).detach().numpy().tobytes() for each in net.parameters())).hexdigest()


def own(each: torch.Tensor) -> torch.Tensor:
    return each.to_local() if isinstance(each, DTensor) else each


def main(folder: Path) -> None:
    rank = int(os.environ["RANK"])
    while (folder / f"away-{rank}").exists():
        time.sleep(PAUSE)
    net = model()
    outer = wrapped(net)
    optimizer = optimizer_of(net)
    heal = checkpointheal.attach(model=net, optimizer=optimizer)
    with (folder / f"steps-{rank}.jsonl").open("a") as told:
        for epoch in heal.epochs():
            with epoch:
                step = epoch.step
                while not _is_last(folder, step):
                    optimizer.zero_grad()
                    loss_of(outer, rank, step).backward()
                    optimizer.step()
                    step += 1
                    line = {"step": step, "new": heal.commit(step), "weights": fingerprint(net), "pid": os.getpid()}
                    line |= {"epoch": epoch.number, "left_out": epoch.left_out, "members": heal.world}
                    told.write(json.dumps(line) + "\n")
                    told.flush()
                    time.sleep(PAUSE)
    torch.save({name: own(each) for name, each in net.state_dict().items()}, folder / f"end-{rank}.pt")


def _is_last(folder: Path, step: int) -> bool:
    return (folder / "stop").exists() and step >= int((folder / "stop").read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
