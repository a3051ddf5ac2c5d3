"""DDP under torchrun, which ends every rank when one is lost: each finds its state in its own pod's memory again.

export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
checkpointheal local --replicas 3 -- sh -c 'exec torchrun --nnodes 3 --nproc-per-node 1 --max-restarts 100 \\
    --rdzv-backend c10d --rdzv-endpoint $MASTER_ADDR:$MASTER_PORT --local-addr 127.0.0.1 examples/torchrun_ddp.py'

With two trainers in each of two pods: `--replicas 4 --local-ranks 2 --launcher`, `--nnodes 2 --nproc-per-node 2`.
"""

import argparse
import os
import signal
import sys
import threading
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import checkpointheal

WORLD = int(os.environ["WORLD_SIZE"])
POD, LOCAL_RANK = os.environ.get("CHECKPOINTHEAL_MEMBER", "").partition("/")[0], int(os.environ["LOCAL_RANK"])
PLACE = int(POD) * int(os.environ["LOCAL_WORLD_SIZE"]) + LOCAL_RANK if POD else int(os.environ["RANK"])
"""torchrun may give a pod that came back another rank: data, dropout and the order of sums stay with its place."""
LEFT = 143


def train_step(ddp: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> float:
    points = torch.randn(
        16, 64, generator=torch.Generator().manual_seed(WORLD * step + PLACE)
    )  # the position is the step
    loss = nn.functional.mse_loss(ddp(points), points.roll(1, dims=1).tanh())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def join(epoch: int) -> None:
    """torchrun says which rank holds the store: its own first one. In a store, each epoch has addresses of its own."""
    store, _, _ = next(dist.rendezvous("env://"))
    dist.init_process_group("gloo", store=dist.PrefixStore(f"epoch {epoch}", store), rank=PLACE, world_size=WORLD)


def main() -> None:
    """Train for `--steps` updates, whatever happens to the others."""
    command = argparse.ArgumentParser()
    command.add_argument("--steps", type=int, default=200)
    command.add_argument("--pause", type=float, default=0.1, help="seconds per step, so that there is time to kill")
    options = command.parse_args()

    leaving = threading.Event()

    torch.manual_seed(0)  # equal weights on every rank
    model = nn.Sequential(nn.Linear(64, 256), nn.Dropout(0.1), nn.GELU(), nn.Linear(256, 64))
    optimizer = torch.optim.AdamW(model.parameters())
    torch.manual_seed(PLACE)  # dropout of its own
    heal = checkpointheal.attach(model=model, optimizer=optimizer)
    start = heal.restore()
    join(heal.epoch)
    heal.agree()
    # torchrun says SIGTERM to the survivors, and kills them 30 seconds later: long enough for a commit to become whole.
    signal.signal(signal.SIGTERM, lambda *_: leaving.set())

    ddp = DistributedDataParallel(model, find_unused_parameters=True)
    for step in range(start or 0, options.steps):
        loss = train_step(ddp, optimizer, step)
        if heal.commit(step + 1) and PLACE == 0 and step % 10 == 9:
            print(f"step {step + 1}: loss {loss:.4f}", flush=True)
        if leaving.is_set():
            sys.exit(LEFT)
        time.sleep(options.pause)
    heal.done()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
