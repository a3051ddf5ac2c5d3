"""`examples/torchrun_ddp.py`, watched and killed."""

from typing import Any

import witness

example: Any = witness.example("torchrun_ddp", "--steps", "16", "--pause", "0.05")
train_step = example.train_step
seen: list[Any] = []


def watched(ddp: Any, optimizer: Any, step: int) -> float:
    witness.consumed(step, step, witness.RANK)
    witness.pass_by("step", step)
    loss: float = train_step(ddp, optimizer, step)
    witness.updated(step + 1)
    witness.pass_by("updated", step)
    seen[:] = [ddp.module, optimizer]
    return loss


example.train_step = watched
witness.run(example)
model, optimizer = seen
witness.end(model=model.state_dict(), optimizer=optimizer.state_dict())
