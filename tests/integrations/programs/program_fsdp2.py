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
    model={name: each.to_local() for name, each in model.state_dict().items()},
    optimizer=[
        {name: each.to_local() if hasattr(each, "to_local") else each for name, each in state.items()}
        for state in optimizer.state_dict()["state"].values()
    ],
)
