"""`examples/transformers_trainer.py`, watched and killed."""

from typing import Any

import torch
import witness
from transformers import Trainer, TrainerCallback

example: Any = witness.example(
    "transformers_trainer", "--steps", "22", "--pause", "0", "--out", str(witness.FOLDER / "own")
)
trainer_of = example.trainer_of


class Watch(TrainerCallback):
    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        witness.updated(state.global_step)
        witness.pass_by("updated", state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        witness.pass_by("logged", state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        witness.pass_by("saved", state.global_step)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        witness.pass_by("epoch", state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        trainer = self.trainer
        timed = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss")
        logs = [{key: value for key, value in each.items() if key not in timed} for each in state.log_history]
        witness.end(
            model=trainer.model.state_dict(),
            optimizer=trainer.optimizer.state_dict(),
            schedule=trainer.lr_scheduler.state_dict(),
            rate=trainer.optimizer.param_groups[0]["lr"],
            logs=logs,
            state=[state.global_step, state.epoch, state.total_flos, state.num_input_tokens_seen],
        )


def watched(asked: Any) -> Trainer:
    class Watched(Trainer):
        micro = 0

        def training_step(self, model: Any, inputs: Any, *more: Any) -> torch.Tensor:
            witness.consumed(self.state.global_step, inputs["input_ids"])
            witness.pass_by(("first micro-batch", "second micro-batch")[self.micro], self.state.global_step)
            Watched.micro = 1 - self.micro
            return super().training_step(model, inputs, *more)

    example.Trainer = Watched
    trainer = trainer_of(asked)
    trainer.add_callback(Watch(trainer))
    return trainer


if witness.IS_PLAIN:
    watched(example.options()).train()
else:
    example.trainer_of = watched
    example.main()
