"""A Hugging Face Trainer that is lost ends as if it had not been, and what is ours ends with the job.

In one process: a life ends by an error, and the next one is given what the last commit kept.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="transformers is not installed here: make integrations")

import torch
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import ExportableState

from builders_memory import Lost, Memory, live
from checkpointheal.integrations import transformers as healing

pytestmark = pytest.mark.filterwarnings("ignore")
TIMED = ("runtime", "per_second", "train_loss")


class Words(Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        words = torch.full((4,), number)
        return {"input_ids": words, "labels": words}


class Counting(TrainerCallback, ExportableState):  # type: ignore[misc]
    """How often a step began."""

    def __init__(self) -> None:
        self.counted = 0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.counted += 1

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {"counted": self.counted}}


class Losing(TrainerCallback):  # type: ignore[misc]
    """Lost once, when so many updates are made."""

    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_pre_optimizer_step(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        if state.global_step == self.step:
            self.step = None
            raise Lost


def a_trainer(folder: Path, *callbacks: TrainerCallback, **told: Any) -> Trainer:
    quiet: dict[str, Any] = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "save_strategy": "no"}
    args = TrainingArguments(output_dir=str(folder), per_device_train_batch_size=2, **quiet, **told)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=8, n_positions=4, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config)
    return Trainer(model, args, train_dataset=Words(), eval_dataset=Words(), callbacks=[*callbacks])


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int | None], dict[str, Any]]:
    def ended(step: int | None) -> dict[str, Any]:
        memory, losing = Memory(), Losing(step)
        monkeypatch.setattr(healing, "attach", memory.attach)

        def life() -> dict[str, Any]:
            counting = Counting()
            told = {
                "max_steps": 7,
                "logging_steps": 2,
                "eval_on_start": True,
                "eval_strategy": "steps",
                "eval_steps": 4,
            }
            healed = healing.restore()
            trainer = a_trainer(tmp_path, counting, losing, **told)
            healed.train(trainer)
            assert trainer.args.eval_on_start, "it is told again what it was told"
            logs = [
                {key: each for key, each in entry.items() if not key.endswith(TIMED)}
                for entry in trainer.state.log_history
            ]
            return {"model": trainer.model.state_dict(), "logs": logs, "counted": counting.counted}

        told: dict[str, Any] = live(life, 1 if step is None else 2)
        return told

    return ended


@pytest.mark.parametrize("step", [3, 4, 6])
def test_it_ends_with_the_same_log_and_counts(ended: Callable[[int | None], dict[str, Any]], step: int) -> None:
    torch.testing.assert_close(ended(step), ended(None), rtol=0, atol=0)


def test_a_training_that_comes_later_commits_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    memory = Memory()
    monkeypatch.setattr(healing, "attach", memory.attach)
    trainer = a_trainer(tmp_path, max_steps=2)
    healing.restore().train(trainer)
    assert memory.told == ["commit 1", "done"]
    trainer.args.max_steps = 4
    trainer.train()
    assert memory.told == ["commit 1", "done"]
    assert not any(type(each).__module__.startswith("checkpointheal") for each in trainer.callback_handler.callbacks)
