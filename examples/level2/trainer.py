"""One trainer of the experiment: wraps its model once and goes through epochs. Started by `survive.py`.

The loop in `train` is what a user would write.
"""

import argparse
import os
import signal
from collections.abc import Callable
from pathlib import Path

import torch
from kept import Kept
from membership import Membership
from stable_group import Faults, StableGroups
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

WIDTH, LAYERS, BATCH = 64, 4, 8
SHARDS = 2
"""Ranks per replica under FSDP2; under DDP a replica is one rank."""


class Doom:
    """Where this trainer kills itself, as `kill -9` would: at a step, in a phase of it."""

    def __init__(self, step: int | None, phase: str) -> None:
        self._step, self._phase = step, phase
        self.now = 0

    def passes(self, phase: str) -> None:
        """A named point."""
        if (self.now, phase) == (self._step, self._phase):
            os.kill(os.getpid(), signal.SIGKILL)


class Block(nn.Module):
    """A layer with dropout, and with points to die at in the middle of forward and backward."""

    def __init__(self, doom: Doom | None) -> None:
        super().__init__()
        self.linear, self.dropout, self._doom = nn.Linear(WIDTH, WIDTH), nn.Dropout(0.1), doom

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """The same shape as given."""
        if self._doom is not None:
            self._doom.passes("forward")
            given.register_hook(lambda gradient: self._doom.passes("backward") or gradient)
        return given + torch.tanh(self.dropout(self.linear(given)))


def build(doom: Doom) -> nn.Sequential:
    """Equal on every rank."""
    torch.manual_seed(0)
    blocks = [Block(doom if index == LAYERS // 2 else None) for index in range(LAYERS)]
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), *blocks)


def wrap_ddp(model: nn.Module, options: argparse.Namespace) -> tuple[nn.Module, Callable[[], None]]:
    """The wrapped model, and what mends it after an error in the middle of a step.

    Buckets that are rebuilt after the first step would differ between a survivor and a member that was just started;
    find_unused_parameters keeps them. Small ones, so that several are under way at once.
    """
    wrapped = DistributedDataParallel(model, find_unused_parameters=not options.rebuilds, bucket_cap_mb=0.02)
    return wrapped, wrapped.reducer._reset_state  # noqa: SLF001 torch has no public word for it


def wrap_fsdp2(model: nn.Module, options: argparse.Namespace) -> tuple[nn.Module, Callable[[], None]]:
    """The same for two replicas of two shards."""
    mesh = init_device_mesh("cpu", (options.size // SHARDS, SHARDS), mesh_dim_names=("replicate", "shard"))
    for part in model:
        fully_shard(part, mesh=mesh)
    wrapped = fully_shard(model, mesh=mesh)
    return wrapped, wrapped.reset_iter_state


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, rank: int, step: int) -> None:
    """One update on a batch of this rank's own."""
    batch = torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(1000 * step + rank))
    optimizer.zero_grad()
    model(batch).square().mean().backward()
    optimizer.step()


def run(told: list[str], out: Path) -> None:
    """A trainer's whole life: `told` is its command line; its log and its result lie in `out`."""
    torch.set_num_threads(1)
    options = arguments().parse_args(told)
    with (out / f"{options.rank}.log").open("a", buffering=1) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        torch.save(train(options), out / f"{options.rank}.pt")


def train(options: argparse.Namespace) -> dict[str, object]:
    """What a user would write, but for the names."""
    doom = Doom(options.die_at, options.die_in)
    faults = Faults(swallowed=not options.raises)
    groups = StableGroups(options.rank, options.size, faults)
    membership = Membership(options, faults, groups)
    model, mend = {"ddp": wrap_ddp, "fsdp2": wrap_fsdp2}[options.wrap](build(doom), options)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    kept = Kept(model, optimizer)
    torch.manual_seed(options.rank)
    membership.attach(kept, optimizer, (lambda: None) if options.unmended else mend)
    for epoch in membership.epochs():
        with epoch:
            for step in range(epoch.step, options.steps):
                doom.now = step
                train_step(model, optimizer, options.rank, step)
                doom.passes("before commit")
                membership.commit(step + 1)
            membership.done()
    return {"tensors": kept.live, "rng": torch.get_rng_state()}


def arguments() -> argparse.ArgumentParser:
    """As `survive.py` gives them."""
    parser = argparse.ArgumentParser()
    for name in ("--rank", "--size", "--port", "--steps"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--wrap", choices=["ddp", "fsdp2"], required=True)
    parser.add_argument("--die-at", type=int)
    parser.add_argument("--die-in", default="")
    for name in ("--raises", "--unmended", "--rebuilds"):
        parser.add_argument(name, action="store_true")
    return parser
