"""The failing example: torch's own groups, replaced as well as a survivor can, and the wrapper that does not see it.

Three trainers; one is killed. The survivors end what is blocked, destroy every group, make new ones among themselves,
and take one more step with the model that they wrapped before. Prints what they hear. Exits non-zero if it worked.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.queues import SimpleQueue

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

VICTIM, SIZE, STEPS = 2, 3, 4
WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {"DDP": DistributedDataParallel, "FSDP2": fully_shard}


def step(model: nn.Module) -> None:
    """Forward and backward; the update does not matter here."""
    model(torch.ones(2, 8)).sum().backward()


def meet(prefix: str, port: int, rank: int, size: int) -> None:
    """Join the group of that name."""
    store = dist.TCPStore("127.0.0.1", port, is_master=False)
    dist.init_process_group(
        "gloo", store=dist.PrefixStore(prefix, store), rank=rank, world_size=size, timeout=timedelta(seconds=10)
    )


def survive(wrapper: str, rank: int, port: int, heard: "SimpleQueue[str]") -> None:
    """One trainer's life."""
    meet("first", port, rank, SIZE)
    model = WRAPPERS[wrapper](nn.Linear(8, 8))
    for _ in range(STEPS):
        step(model)
    if rank == VICTIM:
        os.kill(os.getpid(), signal.SIGKILL)
    for prefix in ("first", "second"):
        if prefix == "second":
            dist.destroy_process_group()
            meet(prefix, port, rank, SIZE - 1)
        try:
            step(model)
            heard.put(f"{wrapper}, rank {rank}, {prefix} group: no error")
        except (RuntimeError, ValueError) as error:
            heard.put(f"{wrapper}, rank {rank}, {prefix} group: {type(error).__name__}: {error}")


def main() -> int:
    """Both wrappers; 0 where none of them went on."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "torch.distributed.fsdp"])
    worked = 0
    for wrapper in WRAPPERS:
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        heard: SimpleQueue[str] = context.SimpleQueue()
        told = [(wrapper, rank, store.port, heard) for rank in range(SIZE)]
        trainers = [context.Process(target=survive, args=each) for each in told]
        for trainer in trainers:
            trainer.start()
        for trainer in trainers:
            trainer.join()
        while not heard.empty():
            line = heard.get()
            worked += "second group: no error" in line
            print(" ".join(line.split()))
    return min(worked, 1)


if __name__ == "__main__":
    sys.exit(main())
