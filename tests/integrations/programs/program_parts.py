"""`examples/parts.py`, watched and killed."""

from typing import Any

import witness

example: Any = witness.example("parts", "--steps", "22", "--pause", "0.05")
train_step = example.train_step
seen: list[Any] = []


def watched(ddp: Any, parts: Any, batch: Any) -> float:
    at = parts.schedule.last_epoch
    witness.consumed(at, *batch)
    witness.pass_by("step", at)
    loss: float = train_step(ddp, parts, batch)
    witness.updated(at + 1)
    witness.pass_by("updated", at)
    seen[:] = [parts]
    return loss


example.train_step = watched
witness.run(example)
parts = seen[0]
witness.end(
    model=parts.model.state_dict(),
    optimizer=parts.optimizer.state_dict(),
    schedule=parts.schedule.state_dict(),
    average=parts.average.state_dict(),
    scaler=parts.scaler.state_dict(),
    rate=parts.optimizer.param_groups[0]["lr"],
)
