"""A Hugging Face Trainer that goes on where it was, whoever of its job is killed: a tiny GPT-2, on the CPU, over gloo.

checkpointheal local --replicas 3 -- python examples/transformers_trainer.py   # kill whatever you like while it runs
python examples/transformers_trainer.py                                         # the same, alone and unprotected
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from checkpointheal.integrations import transformers as healing


class Sentences(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Each is made of its number, so the same one is the same whoever asks."""

    def __len__(self) -> int:
        return 96

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        words = torch.randint(0, 64, (16,), generator=torch.Generator().manual_seed(number))
        return {"input_ids": words, "labels": words}


class Pause(TrainerCallback):
    """Gives you time to kill something."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        time.sleep(self.seconds)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds per step")
    parser.add_argument("--out", type=Path, default=Path("transformers-out"), help="where your own checkpoints go")
    return parser.parse_args()


def trainer_of(asked: argparse.Namespace, **more: Any) -> Trainer:
    """As anybody would make it."""
    args = TrainingArguments(
        output_dir=str(asked.out),
        use_cpu=True,
        max_steps=asked.steps,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        learning_rate=3e-3,
        lr_scheduler_type="cosine",
        logging_steps=3,
        save_steps=10,
        disable_tqdm=True,
        report_to=[],
    )
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=64, n_positions=16, n_embd=32, n_layer=2, n_head=2)
    return Trainer(GPT2LMHeadModel(config), args, train_dataset=Sentences(), callbacks=[Pause(asked.pause)], **more)


def main() -> None:
    asked = options()
    healed = healing.restore()  # the first thing: TrainingArguments joins the process group
    trainer = trainer_of(asked)
    healed.train(trainer, resume_from_checkpoint=get_last_checkpoint(str(asked.out)) if asked.out.exists() else None)


if __name__ == "__main__":
    main()
