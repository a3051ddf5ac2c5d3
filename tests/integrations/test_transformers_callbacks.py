"""What the callbacks of a Hugging Face Trainer have counted comes back with the rest, and no folder stays behind."""

import tempfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="transformers is not installed here: make integrations")

import torch
from torch.utils.data import Dataset
from transformers import (
    EarlyStoppingCallback,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_callback import ExportableState

from checkpointheal.integrations import transformers as healing
from checkpointheal.integrations import transformers_folder as folders
from checkpointheal.integrations.transformers_own import Own

pytestmark = pytest.mark.filterwarnings("ignore")


ROOM = 1 << 19


class Words(Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        words = torch.full((4,), number)
        return {"input_ids": words, "labels": words}


class Counting(TrainerCallback, ExportableState):
    def __init__(self, counted: int = 0) -> None:
        self.counted = counted

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {"counted": self.counted}}


def stopping(counted: int) -> EarlyStoppingCallback:
    callback = EarlyStoppingCallback(early_stopping_patience=9)
    callback.early_stopping_patience_counter = counted
    return callback


def a_trainer(folder: Path, *callbacks: TrainerCallback, **told: Any) -> Trainer:
    args = TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="no", max_steps=1, **told
    )
    config = GPT2Config(vocab_size=8, n_positions=4, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0)
    return Trainer(GPT2LMHeadModel(config), args, train_dataset=Words(), callbacks=[*callbacks])


@pytest.mark.parametrize("asked_for", [False, True])
def test_callbacks_count_on_from_where_they_were(tmp_path: Path, asked_for: bool) -> None:
    before = a_trainer(tmp_path, stopping(2), Counting(5), Counting(6))
    own = Own(ROOM)
    own.become(before)
    restored = own.state_dict()
    counting, again, fresh = Counting(), Counting(), stopping(0)
    after = a_trainer(tmp_path, counting, again, fresh, restore_callback_states_from_checkpoint=asked_for)
    new = Own(ROOM)
    new.load_state_dict(restored)
    new.become(after)
    assert (fresh.early_stopping_patience_counter, counting.counted, again.counted) == (2, 5, 6)


def test_a_callback_that_is_not_there_any_more_is_passed_over(tmp_path: Path) -> None:
    own, new = Own(ROOM), Own(ROOM)
    own.become(a_trainer(tmp_path, stopping(2), Counting(5)))
    new.load_state_dict(own.state_dict())
    fresh = stopping(0)
    new.become(a_trainer(tmp_path, fresh))
    assert fresh.early_stopping_patience_counter == 2


def test_what_a_killed_process_of_this_place_left_in_tmpdir_is_gone_before_the_next_one_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CHECKPOINTHEAL_JOB", "job")
    monkeypatch.setenv("CHECKPOINTHEAL_MEMBER", "1/0")
    left, others = folders.new("job 1/0"), folders.new("job 0/0")
    (left / "pytorch_model.bin").touch()
    healing.restore().train(a_trainer(tmp_path / "own"))
    assert (left.exists(), others.exists()) == (False, True)
