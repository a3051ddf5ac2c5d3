"""`examples/train.py`, watched and killed."""

from types import SimpleNamespace
from typing import Any

import witness

import checkpointheal

example: Any = witness.example("train", "--steps", "16", "--pause", "0")
seen: dict[str, Any] = {}


class Watched:
    """A `Heal` that tells how far its script is."""

    def __init__(self, heal: Any) -> None:
        self._heal = heal
        self.step: int | None = None

    def restore(self) -> int | None:
        start: int | None = self._heal.restore()
        self.step = start or 0
        return start

    def commit(self, step: int) -> bool:
        witness.updated(step)
        self.pass_by("before commit")
        is_new: bool = self._heal.commit(step)
        self.step = step
        self.pass_by("committed")
        return is_new

    def pass_by(self, point: str) -> None:
        if self.step is not None:  # an optimizer without a state makes an update on trial before
            witness.pass_by(point, self.step)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._heal, name)


class Batches(example.Batches):  # type: ignore[misc]
    def draw(self) -> Any:
        batch = super().draw()
        witness.consumed(seen["heal"].step, *batch)
        seen["heal"].pass_by("step")
        return batch


def attach(**parts: Any) -> Watched:
    door: Any = witness.WithoutUs() if witness.IS_PLAIN else checkpointheal
    heal = Watched(door.attach(**parts))
    seen.update(parts, heal=heal)
    parts["model"][1].register_forward_pre_hook(lambda *_: heal.pass_by("forward"))
    parts["model"][2].register_full_backward_hook(lambda *_: heal.pass_by("backward"))
    parts["optimizer"].register_step_pre_hook(lambda *_: heal.pass_by("optimizer step"))
    return heal


example.Batches = Batches
example.checkpointheal = SimpleNamespace(attach=attach)
example.main()
witness.end(
    model=seen["model"].state_dict(),
    optimizer=seen["optimizer"].state_dict(),
    data=seen["private"]["batches"].state_dict(),
)
