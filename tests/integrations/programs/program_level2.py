"""`examples/level2_ddp.py`, watched and killed: a survivor's process computes on, and may compute an update again."""

from typing import Any

import witness

example: Any = witness.example("level2_ddp", "--steps", "16", "--pause", "0")
train_step, build = example.train_step, example.build
BATCH = 32
seen: dict[str, Any] = {"step": -1}


class Batches(example.Batches):  # type: ignore[misc]
    def draw(self) -> Any:
        batch = super().draw()
        witness.consumed(seen["step"], *batch, self.consumed[-BATCH:])
        return batch


def watched(model: Any, optimizer: Any, batches: Batches) -> Any:
    before, step = seen["step"], len(batches.consumed) // BATCH
    witness.turns[0] += step <= before
    seen.update(step=step, model=model.module, optimizer=optimizer, batches=batches)
    witness.pass_by("step", step)
    loss = train_step(model, optimizer, batches)
    witness.updated(step + 1)
    witness.pass_by("updated", step)
    return loss


def watched_build(rank: int) -> Any:
    model, optimizer, batches = build(rank)
    model[2].register_forward_pre_hook(lambda *_: witness.pass_by("forward", seen["step"]))
    model[2].register_full_backward_hook(lambda *_: witness.pass_by("backward", seen["step"]))
    return model, optimizer, batches


example.Batches, example.train_step, example.build = Batches, watched, watched_build
witness.run(example)
witness.end(
    model=seen["model"].state_dict(),
    optimizer=seen["optimizer"].state_dict(),
    data=seen["batches"].state_dict(),
)
