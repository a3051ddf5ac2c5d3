"""HSDP that goes on when a rank is lost: only that rank is started again, neither its replica nor the other one.

checkpointheal local --replicas 2 --ranks 2 -- python examples/level2_hsdp.py   # kill a trainer while it runs
"""

import argparse
import os
import time
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import checkpointheal

RANK, SHARDS = int(os.environ["RANK"]), 2


class Batches:
    """This rank's own samples. Which ones come next is private: no other rank knows it."""

    def __init__(self) -> None:
        self._draws = torch.Generator().manual_seed(RANK)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """8 points and what to make of them."""
        points = torch.randn(8, 64, generator=self._draws)
        return points, points.roll(1, dims=1).tanh()

    def state_dict(self) -> dict[str, Any]:
        """Where it stands."""
        return {"draws": self._draws.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._draws.set_state(state["draws"])


def sharded() -> nn.Module:
    """Equal weights everywhere, each layer cut over the ranks of a replica."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.1), nn.GELU()) for _ in range(3)), nn.Linear(64, 64)
    )
    mesh = init_device_mesh("cpu", (dist.get_world_size() // SHARDS, SHARDS), mesh_dim_names=("replicate", "shard"))
    for layer in model:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    torch.manual_seed(RANK)  # dropout of its own
    return model


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Batches) -> torch.Tensor:
    """One update."""
    points, wanted = batches.draw()
    loss = nn.functional.mse_loss(model(points), wanted)
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

    checkpointheal.process_group()  # before anything is cut, which is before there is an optimizer
    model = sharded()
    optimizer, batches = torch.optim.AdamW(model.parameters(), lr=1e-2), Batches()
    heal = checkpointheal.attach(model=model, optimizer=optimizer, private={"batches": batches})
    for epoch in heal.epochs():
        with epoch:
            print(f"process {os.getpid()}: epoch {epoch.number} begins at step {epoch.step}", flush=True)
            for step in range(epoch.step, options.steps):
                loss = train_step(model, optimizer, batches)
                if heal.commit(step + 1) and RANK == 0 and step % 10 == 9:
                    print(f"step {step + 1}: loss {loss.item():.4f}", flush=True)
                time.sleep(options.pause)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
