"""`examples/fsdp2.py`, watched and killed."""

from typing import Any

import torch
import witness

example: Any = witness.example("fsdp2", "--steps", "16", "--pause", "0.05")
train_step = example.train_step
seen: list[Any] = []


def watched(model: Any, optimizer: Any, step: int) -> torch.Tensor:
    witness.consumed(step, step)
    witness.pass_by("step", step)
    loss: torch.Tensor = train_step(model, optimizer, step)
    witness.updated(step + 1)
    witness.pass_by("updated", step)
    seen[:] = [model, optimizer]
    return loss


example.train_step = watched
witness.run(example)
model, optimizer = seen
witness.end(
    model=witness.local(model.state_dict()),
    optimizer=witness.local(list(optimizer.state_dict()["state"].values())),
)
