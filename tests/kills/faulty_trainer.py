"""The demo's training with a small model, and with points at which it dies or stands still when it is told to.

A test arms one by writing `armed-RANK.json` into the folder; it fires once. The points lie inside the product's own
functions and torch's, which are wrapped here and nowhere else.
"""

import argparse
import ctypes
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

import checkpointheal
from checkpointheal.contract.trainer import Sealed
from checkpointheal.demo import reference
from checkpointheal.trainer import apply as applying
from checkpointheal.trainer import generation, restoring
from checkpointheal.trainer.line import Line

OPTIONS = argparse.Namespace(steps=10_000, layers=2, width=288, heads=4, batch=2, length=32)
"""A state of 24 MB: three chunks."""


class Points:
    """Where this process may be hit. `pass_by` is called at each point."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._file = folder / f"armed-{rank}.json"
        self._sick = folder / f"sick-{rank}"
        self._steps_left: int | None = None

    def pass_by(self, point: str) -> None:
        if not self._file.exists():
            return
        armed = json.loads(self._file.read_text())
        if armed["point"] != point:
            return
        self._file.unlink()
        if armed["signal"]:
            os.kill(os.getpid(), signal.Signals(armed["signal"]))
        else:
            ctypes.PyDLL(None).sleep(10**6)  # with the interpreter's lock held: no thread of this process runs again

    @torch.no_grad()
    def go_wrong(self, model: nn.Module) -> None:
        """Once, where the test wants it: a weight is another one, and nobody is told."""
        if self._sick.exists():
            self._sick.unlink()
            self._steps_left = 1
            next(model.parameters()).view(-1)[0].add_(1)

    def stand_still(self) -> None:
        """One step after it went wrong, whose gradients are in everybody's weights: time enough to be noticed."""
        if self._steps_left == 0:
            time.sleep(10**6)
        elif self._steps_left is not None:
            self._steps_left -= 1

    def before(self, point: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def passing(*args: Any, **keywords: Any) -> Any:
            self.pass_by(point)
            return function(*args, **keywords)

        return passing

    def halfway(self, point: str, copy: Callable[..., Any]) -> Callable[..., Any]:
        """A copy of regions that passes the point when half of them are done."""

        def passing(live: Any, data: Any, *chosen: Any) -> None:
            for count in (len(live.regions) // 2, len(live.regions)):
                columns = live.schema.regions.model_dump()
                regions = type(live.schema.regions)(**{name: each[:count] for name, each in columns.items()})
                schema = live.schema.model_copy(update={"regions": regions})
                copy(dataclasses.replace(live, schema=schema, regions=live.regions[:count]), data, *chosen)
                self.pass_by(point)

        return passing


def wrap(points: Points, model: nn.Module) -> None:
    """Put the points in their places."""
    blocks = list(model.blocks)  # type: ignore[arg-type]
    blocks[1].register_forward_pre_hook(lambda *_: points.pass_by("forward"))
    blocks[0].register_full_backward_hook(lambda *_: points.pass_by("backward"))
    now_and_then = _every(7)
    lerp = torch.Tensor.lerp_

    def lerping(self: torch.Tensor, *args: Any, **keywords: Any) -> torch.Tensor:
        if next(now_and_then):
            points.pass_by("optimizer step")
        return lerp(self, *args, **keywords)

    torch.Tensor.lerp_ = lerping  # type: ignore[method-assign]
    generation.write_out = points.halfway("mid-seal", generation.write_out)
    applying.write_into = points.halfway("during load", applying.write_into)
    restoring.apply = points.before("before apply", restoring.apply)
    say = Line.say

    def saying(self: Line, message: Any, **keywords: Any) -> bool:
        if isinstance(message, Sealed):
            points.pass_by("sealed, not told")
        return say(self, message, **keywords)

    Line.say = saying  # type: ignore[method-assign]


def _every(count: int) -> Iterator[bool]:
    while True:
        yield from [False] * (count - 1)
        yield True


def main(folder: Path, *, healed: bool) -> None:
    """Train until the step that the test writes into `stop`; healed, or plainly as the witness."""
    rank = int(os.environ["RANK"])
    model, optimizer, schedule, text = reference.build(OPTIONS, rank)
    step, heal, points = 0, None, Points(folder, rank)
    if healed:
        wrap(points, model)
        parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "private": {"text": text}}
        heal = checkpointheal.attach(**parts, background=rank > 0)
        reference.tell(folder, rank, event="waits")
        step = heal.restore() or 0
    dist.init_process_group("gloo")
    if heal:
        heal.agree()
    ddp = reference.wrapped(model)
    reference.tell(folder, rank, event="start", step=step)
    while not _is_last(folder, step):
        loss = reference.train_step(ddp, optimizer, schedule, text)
        step += 1
        points.pass_by("before commit")
        if heal:
            points.go_wrong(model)
            heal.commit(step, loss=loss)
            points.stand_still()
        reference.tell(folder, rank, event="step", step=step, loss=loss)
    reference.save_fingerprint(folder, rank, reference.fingerprint(model, optimizer, schedule, text))
    if heal:
        heal.done()
    dist.destroy_process_group()


def _is_last(folder: Path, step: int) -> bool:
    stop = folder / "stop"
    return stop.exists() and step >= int(stop.read_text())


if __name__ == "__main__":
    main(Path(sys.argv[2]), healed=sys.argv[1] == "healed")
