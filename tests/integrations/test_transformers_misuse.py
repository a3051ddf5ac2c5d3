"""A Trainer that is told what cannot come back is refused by the name of what it is told, before it trains."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="transformers is not installed here: make integrations")

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from checkpointheal.errors import Misuse
from checkpointheal.integrations import transformers as healing

pytestmark = pytest.mark.filterwarnings("ignore")


class Noisy(Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        words = torch.randint(0, 8, (4,))
        return {"input_ids": words, "labels": words}


def a_trainer(folder: Path, **told: Any) -> Trainer:
    args = TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="no", **told
    )
    config = GPT2Config(vocab_size=8, n_positions=4, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0)
    return Trainer(GPT2LMHeadModel(config), args, train_dataset=Noisy())


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"ignore_data_skip": True}, "ignore_data_skip=True"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size=True"),
        ({"train_sampling_strategy": "group_by_length"}, "group_by_length"),
        ({"accelerator_config": {"use_seedable_sampler": False}}, "use_seedable_sampler=False"),
    ],
)
def test_an_argument_that_cannot_be_healed_is_named(tmp_path: Path, told: dict[str, Any], named: str) -> None:
    healed = healing.restore()
    with pytest.raises(Misuse, match=named):
        healed.train(a_trainer(tmp_path, **told))


def test_a_number_of_torchs_or_numpys_in_the_log_ends_no_commit(tmp_path: Path) -> None:
    trainer = a_trainer(tmp_path)
    trainer.state.log_history.append({"a": np.float32(0.5), "b": torch.tensor(2.0)})
    assert json.loads(healing._state_of(trainer))["log_history"] == [{"a": 0.5, "b": 2.0}]


def test_restore_comes_before_the_process_group_is_joined() -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(Misuse, match="before TrainingArguments"):
            healing.restore()
    finally:
        dist.destroy_process_group()


def test_a_part_of_the_trainers_own_is_not_named_again() -> None:
    with pytest.raises(Misuse, match="model is the Trainer's own part"):
        healing.restore(model=torch.nn.Linear(1, 1))


def test_one_restore_is_for_one_training(tmp_path: Path) -> None:
    healed = healing.restore()
    healed.train(a_trainer(tmp_path, max_steps=1))
    with pytest.raises(Misuse, match="one train"):
        healed.train(a_trainer(tmp_path, max_steps=1))


def test_what_is_no_trainer_is_named() -> None:
    with pytest.raises(Misuse, match="was given a str"):
        healing.restore().train("trainer")  # type: ignore[arg-type]


def test_a_data_set_that_draws_from_the_streams_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    healing.restore().train(a_trainer(tmp_path, max_steps=4, per_device_train_batch_size=1))
    assert sum("draws from this process's random streams" in each for each in caplog.messages) == 1
