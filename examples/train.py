"""A whole training script with CheckpointHeal in it: a tiny model, on the CPU, over gloo.

checkpointheal local --replicas 3 -- python examples/train.py   # kill whatever you like while it runs
python examples/train.py                                        # the same, alone and unprotected
"""

import argparse
import os
import time
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import checkpointheal


class Batches:
    """This rank's own data. Its position is private: no other rank has it."""

    def __init__(self, seed: int) -> None:
        self._draws = torch.Generator().manual_seed(seed)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """32 points and what to make of them."""
        points = torch.randn(32, 64, generator=self._draws)
        return points, points.roll(1, dims=1).tanh()

    def state_dict(self) -> dict[str, Any]:
        """Where it stands."""
        return {"draws": self._draws.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._draws.set_state(state["draws"])


def main() -> None:
    """Train for `--steps` updates, whatever happens to the others."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds per step, so that there is time to kill")
    options = parser.parse_args()
    rank, alone = int(os.environ.get("RANK", "0")), "RANK" not in os.environ

    torch.manual_seed(0)  # equal weights on every rank
    model = nn.Sequential(nn.Linear(64, 256), nn.Dropout(0.1), nn.GELU(), nn.Linear(256, 64))
    optimizer = torch.optim.AdamW(model.parameters())
    batches = Batches(seed=rank)
    torch.manual_seed(rank)  # dropout of its own

    heal = checkpointheal.attach(model=model, optimizer=optimizer, private={"batches": batches})
    start = heal.restore()  # own memory, then a peer; None: load your checkpoint, or start fresh
    if not alone:
        dist.init_process_group("gloo")
    heal.agree()  # every rank restored the same step, or RestoreDisagrees on all of them

    # Without find_unused_parameters the reducer rebuilds its buckets after the first step it sees, so that a restarted
    # job would add its gradients in another order than one that was never disturbed.
    ddp = model if alone else DistributedDataParallel(model, find_unused_parameters=True)
    for step in range(start or 0, options.steps):
        points, wanted = batches.draw()
        loss = nn.functional.mse_loss(ddp(points), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if heal.commit(step + 1) and rank == 0 and step % 10 == 9:  # the only moment at which the state is whole
            print(f"step {step + 1}: loss {loss.item():.4f}", flush=True)
        time.sleep(options.pause)
    heal.done()
    if not alone:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
