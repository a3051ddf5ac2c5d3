"""HSDP that goes on where it was: each replica is cut over two ranks by FSDP2, and the replicas heal each other.

checkpointheal local --replicas 2 --ranks 2 -- python examples/fsdp2.py   # kill whatever you like while it runs
"""

import argparse
import os
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import checkpointheal
from checkpointheal.integrations.fsdp2 import Shards

RANK, WORLD, SHARDS = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), 2


def sharded() -> nn.Module:
    """Equal weights everywhere, each layer cut over the ranks of a replica."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.1), nn.GELU()) for _ in range(3)), nn.Linear(64, 64)
    )
    mesh = init_device_mesh("cpu", (WORLD // SHARDS, SHARDS), mesh_dim_names=("replicate", "shard"))
    for layer in model:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> torch.Tensor:
    points = torch.randn(
        8, 64, generator=torch.Generator().manual_seed(WORLD * step + RANK)
    )  # the position is the step
    loss = nn.functional.mse_loss(model(points), points.roll(1, dims=1).tanh())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def main() -> None:
    """Train for `--steps` updates, whatever happens to the others."""
    command = argparse.ArgumentParser()
    command.add_argument("--steps", type=int, default=200)
    command.add_argument("--pause", type=float, default=0.1, help="seconds per step, so that there is time to kill")
    options = command.parse_args()

    shards = Shards()
    heal = checkpointheal.attach(shards=shards)
    start = heal.restore()  # before there is a process group, and so before there is anything to cut
    streams = torch.get_rng_state()
    dist.init_process_group("gloo")
    model = sharded()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    shards.fill(model, optimizer)
    heal.agree()

    if start is None:
        torch.manual_seed(RANK)  # dropout of its own
    else:
        torch.set_rng_state(streams)  # as restored: making the model has drawn from it
    for step in range(start or 0, options.steps):
        loss = train_step(model, optimizer, step)
        if heal.commit(step + 1) and RANK == 0 and step % 10 == 9:
            print(f"step {step + 1}: loss {loss.item():.4f}", flush=True)
        time.sleep(options.pause)
    heal.done()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
