"""One training, three ways to go on after a loss: `python -m bench.rejoin.trainer WAY FOLDER`.

What is told: that the model is made, each update, and when a survivor noticed.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

import checkpointheal
from bench.rejoin import checkpoints
from bench.rejoin.model import MODEL, PACE
from checkpointheal.demo import reference
from checkpointheal.demo.reference import tell, train_step, wrapped

FOLDER, RANK = Path(sys.argv[-1]), int(os.environ.get("RANK", "0"))


def train(start: int, update: Callable[[], object], completed: Callable[[int], object]) -> None:
    """Until it is told to stop."""
    for step in range(start, MODEL.steps):
        time.sleep(PACE)
        update()
        completed(step + 1)
        tell(FOLDER, RANK, event="step", step=step + 1)


def level1(model: Any, optimizer: Any, schedule: Any, text: Any) -> None:
    heal = checkpointheal.attach(model=model, optimizer=optimizer, schedule=schedule, private={"text": text})
    start = heal.restore()
    dist.init_process_group("gloo")
    heal.agree()
    ddp = wrapped(model)
    train(start or 0, lambda: train_step(ddp, optimizer, schedule, text), heal.commit)


def level2(model: Any, optimizer: Any, schedule: Any, text: Any) -> None:
    checkpointheal.process_group()
    ddp = wrapped(model)
    heal = checkpointheal.attach(model=model, optimizer=optimizer, schedule=schedule, private={"text": text})
    for epoch in heal.epochs():
        with epoch:
            train(epoch.step, lambda: train_step(ddp, optimizer, schedule, text), heal.commit)


def restarted(model: Any, optimizer: Any, schedule: Any, text: Any) -> None:
    """torchrun ends the survivors, some before they have noticed; all begin again from the last file."""
    try:
        join(os.environ["TORCHELASTIC_RESTART_COUNT"])
        kept = checkpoints.Kept(FOLDER, RANK, float(os.environ["EVERY"]), (model, optimizer, schedule))
        start, ddp = kept.load(), wrapped(model)
        train(start, lambda: train_step(ddp, optimizer, schedule, text), kept.save)
    except RuntimeError:
        tell(FOLDER, RANK, event="noticed")
        raise


def join(attempt: str) -> None:
    """torchrun's store outlives the ranks: without a prefix they would find the addresses of those that are gone."""
    store, rank, world = next(dist.rendezvous("env://"))
    dist.init_process_group("gloo", store=dist.PrefixStore(attempt, store), rank=rank, world_size=world)


WAYS: dict[str, Callable[..., None]] = {"level1": level1, "level2": level2, "restart": restarted}

if __name__ == "__main__":
    parts = reference.build(MODEL, RANK)
    tell(FOLDER, RANK, event="ready")
    WAYS[sys.argv[1]](*parts)
