"""A trainer of plain DDP whose every update can be computed again by hand, from who was there at each step.

`away-RANK` in the folder keeps that rank's next process from coming to its first call of ours.
"""

import json
import os
import sys
import time
from hashlib import sha256
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import checkpointheal

WIDTH = 8
PAUSE = 0.02


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


def fingerprint(net: nn.Module) -> str:
    return sha256(b"".join(each.detach().numpy().tobytes() for each in net.parameters())).hexdigest()


def main(folder: Path) -> None:
    rank = int(os.environ["RANK"])
    while (folder / f"away-{rank}").exists():
        time.sleep(PAUSE)
    net = model()
    optimizer = optimizer_of(net)
    heal = checkpointheal.attach(model=net, optimizer=optimizer)
    ddp = DistributedDataParallel(net, process_group=heal.process_group(), find_unused_parameters=True)
    with (folder / f"steps-{rank}.jsonl").open("a") as told:
        for epoch in heal.epochs():
            with epoch:
                step = epoch.step
                while not _is_last(folder, step):
                    optimizer.zero_grad()
                    loss_of(ddp, rank, step).backward()
                    optimizer.step()
                    step += 1
                    line = {"step": step, "new": heal.commit(step), "weights": fingerprint(net), "pid": os.getpid()}
                    line |= {"epoch": epoch.number, "left_out": epoch.left_out, "members": heal.world}
                    told.write(json.dumps(line) + "\n")
                    told.flush()
                    time.sleep(PAUSE)
    torch.save(net.state_dict(), folder / f"end-{rank}.pt")


def _is_last(folder: Path, step: int) -> bool:
    return (folder / "stop").exists() and step >= int((folder / "stop").read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
