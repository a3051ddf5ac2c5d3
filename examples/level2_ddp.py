"""Data parallel training that goes on when a rank is lost: only the lost one is started again.

checkpointheal local --replicas 3 -- python examples/level2_ddp.py   # kill a trainer while it runs
python examples/level2_ddp.py                                        # the same, alone and unprotected
"""

import argparse
import os
import time
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import checkpointheal


class Batches:
    """This rank's own samples. Which ones come next is private: no other rank knows it."""

    def __init__(self, rank: int) -> None:
        self._draws = torch.Generator().manual_seed(rank)
        self.consumed: list[int] = []

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """32 points and what to make of them."""
        ids = torch.randint(1 << 20, (32,), generator=self._draws)
        self.consumed += ids.tolist()
        points = torch.sin(ids[:, None] * torch.arange(1, 65) * 0.01)
        return points, points.roll(1, dims=1).tanh()

    def state_dict(self) -> dict[str, Any]:
        """Where it stands."""
        return {"draws": self._draws.get_state(), "consumed": self.consumed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._draws.set_state(state["draws"])
        self.consumed = list(state["consumed"])


def build(rank: int) -> tuple[nn.Module, torch.optim.Optimizer, Batches]:
    """As in any script."""
    model = nn.Sequential(nn.Linear(64, 256), nn.BatchNorm1d(256), nn.Dropout(0.1), nn.GELU(), nn.Linear(256, 64))
    optimizer = torch.optim.AdamW(model.parameters())
    torch.manual_seed(rank)  # dropout of its own
    return model, optimizer, Batches(rank)


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Batches) -> torch.Tensor:
    """One update."""
    points, wanted = batches.draw()
    loss = nn.functional.mse_loss(model(points), wanted)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def main() -> None:
    """Train for `--steps` updates, whatever happens to the others."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds per step, so that there is time to kill")
    options = parser.parse_args()
    rank = int(os.environ.get("RANK", "0"))
    model, optimizer, batches = build(rank)

    heal = checkpointheal.attach(model=model, optimizer=optimizer, private={"batches": batches})
    # find_unused_parameters: the reducer keeps its buckets, so that a member that comes back has the same ones.
    ddp = DistributedDataParallel(model, process_group=heal.process_group(), find_unused_parameters=True)
    for epoch in heal.epochs():
        with epoch:
            print(f"process {os.getpid()}: epoch {epoch.number} begins at step {epoch.step}", flush=True)
            for step in range(epoch.step, options.steps):
                loss = train_step(ddp, optimizer, batches)
                if heal.commit(step + 1) and rank == 0 and step % 10 == 9:
                    print(f"step {step + 1}: loss {loss.item():.4f}", flush=True)
                time.sleep(options.pause)


if __name__ == "__main__":
    main()
