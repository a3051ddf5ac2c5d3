"""`examples/level2_hsdp.py`, watched and killed: a survivor's process computes on, and may compute an update again."""

from typing import Any

import torch
import witness

example: Any = witness.example("level2_hsdp", "--steps", "16", "--pause", "0")
train_step, sharded = example.train_step, example.sharded
seen: dict[str, Any] = {"step": -1}


class Batches(example.Batches):  # type: ignore[misc]
    """Counts the updates: who goes back draws the same one again."""

    drawn = 0

    def draw(self) -> Any:
        batch = super().draw()
        witness.consumed(seen["step"], *batch)
        self.drawn += 1
        return batch

    def state_dict(self) -> Any:
        return super().state_dict() | {"drawn": self.drawn}

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self.drawn = state["drawn"]


def watched(model: Any, optimizer: Any, batches: Batches) -> torch.Tensor:
    before, step = seen["step"], batches.drawn
    witness.turns[0] += step <= before
    seen.update(step=step, model=model, optimizer=optimizer, batches=batches)
    witness.pass_by("step", step)
    loss: torch.Tensor = train_step(model, optimizer, batches)
    witness.updated(step + 1)
    witness.pass_by("updated", step)
    return loss


def watched_model() -> Any:
    model = sharded()
    model[1].register_forward_pre_hook(lambda *_: witness.pass_by("forward", seen["step"]))
    model[1].register_full_backward_hook(lambda *_: witness.pass_by("backward", seen["step"]))
    return model


example.Batches, example.train_step, example.sharded = Batches, watched, watched_model
witness.run(example)
witness.end(
    model=witness.local(seen["model"].state_dict()),
    optimizer=witness.local(seen["optimizer"].state_dict()["state"]),
    data=seen["batches"].state_dict(),
)
