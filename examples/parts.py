"""Everything that a plain training loop has besides model and optimizer comes back: the schedule, an average of the
weights, the loss scale of mixed precision, the position in the data.

checkpointheal local --replicas 3 -- python examples/parts.py   # kill whatever you like while it runs
python examples/parts.py                                        # the same, alone and unprotected
"""

import argparse
import os
import time
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.sampler import StatefulDistributedSampler

import checkpointheal
from checkpointheal.integrations.torchdata import Position

RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


class Points(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Each is made of its number, so the same one is the same whoever asks."""

    def __len__(self) -> int:
        return 96

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        point = torch.randn(16, generator=torch.Generator().manual_seed(number))
        return point, point.roll(1).tanh()


class Parts(NamedTuple):
    """All that is equal on every rank."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Any
    average: nn.Module
    scaler: torch.amp.GradScaler


def parts() -> Parts:
    torch.manual_seed(0)  # equal weights on every rank
    model = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.Dropout(0.2), nn.GELU(), nn.Linear(64, 16))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = SequentialLR(optimizer, [LinearLR(optimizer, 0.1, 1.0, 5), CosineAnnealingLR(optimizer, 100)], [5])
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=False)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120, growth_interval=4)  # it grows, overflows, and backs off
    torch.manual_seed(RANK)  # dropout of its own
    return Parts(model, optimizer, schedule, average, scaler)


def loader() -> tuple[Any, Any]:
    """Its generator is its own: without one, each new iterator would draw from the stream that dropout draws from."""
    points = Points()
    sampler = StatefulDistributedSampler(points, num_replicas=WORLD, rank=RANK, shuffle=True)
    own = torch.Generator().manual_seed(RANK)
    return StatefulDataLoader(points, batch_size=4, sampler=sampler, num_workers=2, generator=own), sampler


def train_step(ddp: nn.Module, parts: Parts, batch: Any) -> float:
    points, wanted = batch
    with torch.autocast("cpu", torch.bfloat16):
        loss = nn.functional.mse_loss(ddp(points), wanted)
    parts.optimizer.zero_grad()
    parts.scaler.scale(loss).backward()
    parts.scaler.step(parts.optimizer)
    parts.scaler.update()
    parts.schedule.step()
    parts.average.update_parameters(parts.model)
    return float(loss.detach())


def main() -> None:
    """Train for `--steps` updates, whatever happens to the others."""
    command = argparse.ArgumentParser()
    command.add_argument("--steps", type=int, default=200)
    command.add_argument("--pause", type=float, default=0.1, help="seconds per step, so that there is time to kill")
    options = command.parse_args()
    here, (data, sampler) = parts(), loader()

    heal = checkpointheal.attach(**here._asdict(), private={"data": Position(data)})
    step = heal.restore() or 0
    if WORLD > 1:
        dist.init_process_group("gloo")
    heal.agree()
    ddp = DistributedDataParallel(here.model, find_unused_parameters=True) if WORLD > 1 else here.model
    while step < options.steps:
        sampler.set_epoch(step // len(data))
        for batch in data:
            loss = train_step(ddp, here, batch)
            step += 1
            if heal.commit(step) and RANK == 0 and step % 10 == 0:
                print(f"step {step}: loss {loss:.4f}, scale {here.scaler.get_scale():g}", flush=True)
            time.sleep(options.pause)
            if step == options.steps:
                break
    heal.done()
    if WORLD > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
