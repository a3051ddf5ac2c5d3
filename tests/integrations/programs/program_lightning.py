"""`examples/lightning_trainer.py`, watched and killed."""

from typing import Any

import witness
from lightning.pytorch.callbacks import Callback

example: Any = witness.example(
    "lightning_trainer", "--epochs", "3", "--pause", "0", "--out", str(witness.FOLDER / "own")
)
trainer_of = example.trainer_of


class Watch(Callback):
    def __init__(self) -> None:
        self.metrics: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        return {"metrics": self.metrics}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.metrics = list(state["metrics"])

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        witness.pass_by("epoch", trainer.global_step)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, number: int) -> None:
        witness.consumed(trainer.global_step, *batch)
        witness.pass_by("batch" if number % 2 == 0 else "second batch", trainer.global_step)

    def on_after_backward(self, trainer: Any, module: Any) -> None:
        witness.pass_by("backward", trainer.global_step)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, number: int) -> None:
        if number % 2 == 1:
            witness.updated(trainer.global_step)

    def on_validation_start(self, trainer: Any, module: Any) -> None:
        witness.pass_by("validation", trainer.global_step)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        self.metrics.append(float(trainer.callback_metrics["loss"]))

    def on_train_end(self, trainer: Any, module: Any) -> None:
        witness.end(
            model=module.state_dict(),
            optimizer=[each.state_dict() for each in trainer.optimizers],
            schedule=[each.scheduler.state_dict() for each in trainer.lr_scheduler_configs],
            rate=[each.param_groups[0]["lr"] for each in trainer.optimizers],
            metrics=self.metrics,
            state=[trainer.global_step, trainer.current_epoch, trainer.fit_loop.total_batch_idx],
        )


def watched(asked: Any) -> Any:
    return trainer_of(asked, Watch())


if witness.IS_PLAIN:
    asked = example.options()
    watched(asked).fit(example.model_of(asked), *example.loaders())
else:
    example.trainer_of = watched
    example.main()
