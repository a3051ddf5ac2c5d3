"""The demo's training on level 2, under DDP or HSDP, with points at which it dies or stands still when it is told to.

`accumulating` is DDP again: two micro-batches make an update, and a BatchNorm gathers statistics. `on-demand` is DDP
without a copy at a commit.

A test arms one by writing `armed-RANK.json` into the folder; it fires once. `plain` is the witness: the same script
without us.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn import functional as F  # noqa: N812 its usual name

import checkpointheal
from checkpointheal.demo import reference
from checkpointheal.trainer.agent_store import AgentStore
from checkpointheal.trainer.stable_group import StableGroup

OPTIONS = argparse.Namespace(steps=10_000, layers=2, width=96, heads=4, batch=2, length=32)
SHARDS = 2
REDUCTIONS = ("allreduce", "_reduce_scatter_base", "reduce_scatter_single")


class Points:
    """Where this process may be hit. `pass_by` is called at each point."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._file = folder / f"armed-{rank}.json"

    def pass_by(self, point: str) -> None:
        if self._file.exists() and (armed := json.loads(self._file.read_text()))["point"] == point:
            self._file.unlink()
            os.kill(os.getpid(), signal.Signals(armed["signal"]))

    def wrap(self, model: nn.Module) -> None:
        blocks = list(model.blocks)  # type: ignore[arg-type]
        blocks[1].register_forward_pre_hook(lambda *_: self.pass_by("forward"))
        blocks[0].register_full_backward_hook(lambda *_: self.pass_by("backward"))
        carry = StableGroup.carry

        def carrying(group: StableGroup, collective: str, *arguments: Any) -> Any:
            work = carry(group, collective, *arguments)
            if collective in REDUCTIONS:
                self.pass_by("all-reduce")
            return work

        StableGroup.carry = carrying  # type: ignore[method-assign]
        wait = AgentStore.wait

        def waiting(store: AgentStore, keys: Sequence[str], *timeout: timedelta) -> None:
            self.pass_by("connecting")  # its own address is there by now
            wait(store, keys, *timeout)

        AgentStore.wait = waiting  # type: ignore[method-assign]


def ddp(model: nn.Module) -> nn.Module:
    return reference.wrapped(model)


class OverTime(nn.BatchNorm1d):
    """Of (batch, time, width)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def accumulating(model: nn.Module) -> nn.Module:
    model.last = OverTime(OPTIONS.width)
    return ddp(model)


def accumulated_step(points: Points, model: Any, optimizer: Any, schedule: Any, text: reference.Text) -> float:
    """One update, of two micro-batches."""
    tokens, targets = text.draw()
    optimizer.zero_grad()
    with model.no_sync():
        first = _backward(model, tokens[:1], targets[:1])
    points.pass_by("between micro-batches")
    second = _backward(model, tokens[1:], targets[1:])
    optimizer.step()
    schedule.step()
    return first + second


def _backward(model: nn.Module, tokens: torch.Tensor, targets: torch.Tensor) -> float:
    loss = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def hsdp(model: nn.Module) -> nn.Module:
    mesh = init_device_mesh("cpu", (dist.get_world_size() // SHARDS, SHARDS), mesh_dim_names=("replicate", "shard"))
    for block in model.blocks:  # type: ignore[union-attr]
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def build(rank: int, wrap: Callable[[nn.Module], nn.Module]) -> tuple[Any, ...]:
    """The reference, wrapped before the optimizer is made: FSDP2 gives the model other parameters."""
    torch.set_num_threads(1)
    torch.manual_seed(rank if wrap is ddp else 0)  # DDP begins with the first rank's weights, whoever made which
    model = reference.GPT(OPTIONS.layers, OPTIONS.width, OPTIONS.heads, OPTIONS.length)
    wrapped = wrap(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=OPTIONS.steps)
    reference.seed(rank)
    return model, wrapped, optimizer, schedule, reference.Text(rank, OPTIONS.batch, OPTIONS.length)


class Local:
    """A state dict with this rank's part of each tensor, for the fingerprint."""

    def __init__(self, part: Any) -> None:
        self._part = part

    def state_dict(self) -> Any:
        return _local(self._part.state_dict())


def _local(node: Any) -> Any:
    if isinstance(node, DTensor):
        return node.to_local()
    if isinstance(node, dict):
        return {key: _local(value) for key, value in node.items()}
    return [_local(each) for each in node] if isinstance(node, list) else node


def main(folder: Path, *, healed: bool) -> None:
    """Train until the step that the test writes into `stop`."""
    rank, points = int(os.environ["RANK"]), Points(folder, int(os.environ["RANK"]))
    way = os.environ["WRAP"]
    wrap = {"ddp": ddp, "hsdp": hsdp, "accumulating": accumulating, "on-demand": ddp}[way]
    train_step = partial(accumulated_step, points) if wrap is accumulating else reference.train_step
    checkpointheal.process_group() if healed else dist.init_process_group("gloo")
    model, wrapped, optimizer, schedule, text = build(rank, wrap)
    heal = None

    def train(step: int) -> None:
        reference.tell(folder, rank, event="start", step=step)
        while not _is_last(folder, step):
            loss = train_step(wrapped, optimizer, schedule, text)
            step += 1
            points.pass_by("before commit")
            if heal:
                heal.commit(step)
            reference.tell(folder, rank, event="step", step=step, loss=loss)

    if healed:
        points.wrap(model)
        parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
        heal = checkpointheal.attach(**parts, private={"text": text}, on_demand=way == "on-demand")
        for epoch in heal.epochs():
            with epoch:
                train(epoch.step)
    else:
        train(0)
    fingerprint = reference.fingerprint(Local(model), Local(optimizer), schedule, text)  # type: ignore[arg-type]
    reference.save_fingerprint(folder, rank, fingerprint)
    dist.destroy_process_group()


def _is_last(folder: Path, step: int) -> bool:
    stop = folder / "stop"
    return stop.exists() and step >= int(stop.read_text())


if __name__ == "__main__":
    main(Path(sys.argv[2]), healed=sys.argv[1] == "healed")
