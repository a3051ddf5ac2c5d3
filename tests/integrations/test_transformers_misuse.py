"""A Trainer that is told what cannot come back is refused by the name of what it is told, before it trains."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="transformers is not installed here: make integrations")

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import Dataset, WeightedRandomSampler
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from checkpointheal.errors import Misuse
from checkpointheal.integrations import transformers as healing
from checkpointheal.integrations.transformers_own import LOGS_KEPT, state_of

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


@pytest.mark.parametrize("switched", ["fsdp", "deepspeed"])
def test_what_the_environment_of_accelerate_launch_switches_on_is_named(tmp_path: Path, switched: str) -> None:
    trainer = a_trainer(tmp_path)
    setattr(trainer, f"is_{switched}_enabled", True)
    with pytest.raises(Misuse, match=f"{switched}=, or its environment"):
        healing.restore().train(trainer)


class Weighted(Trainer):  # type: ignore[misc]  # transformers is absent where types are checked
    def _get_train_sampler(self, *_: Any) -> WeightedRandomSampler:
        return WeightedRandomSampler([1.0] * 8, 8)


def test_the_sampler_that_a_trainer_really_made_is_named(tmp_path: Path) -> None:
    plain = a_trainer(tmp_path)
    with pytest.raises(Misuse, match="a WeightedRandomSampler, whose order is drawn"):
        healing.restore().train(Weighted(plain.model, plain.args, train_dataset=Noisy()))


ROOM = 1 << 19


def logged(trainer: Trainer, room: int = ROOM) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(state_of(trainer, room))["log_history"]
    return entries


def test_a_number_of_torchs_or_numpys_in_the_log_ends_no_commit(tmp_path: Path) -> None:
    trainer = a_trainer(tmp_path)
    trainer.state.log_history.append({"a": np.float32(0.5), "b": torch.tensor(2.0)})
    assert logged(trainer) == [{"a": 0.5, "b": 2.0}]


class Unread:
    """An entry that nobody may copy or write."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Unread":
        raise AssertionError("a commit takes as long as the log is")

    tolist = __deepcopy__


def test_what_a_commit_leaves_out_of_the_log_is_not_looked_at(tmp_path: Path) -> None:
    trainer = a_trainer(tmp_path)
    trainer.state.log_history = [Unread(), *({"step": step} for step in range(LOGS_KEPT))]
    assert [each["step"] for each in logged(trainer)] == [*range(LOGS_KEPT)]


def test_a_log_of_many_metrics_leaves_room_for_the_other_private_parts(tmp_path: Path) -> None:
    trainer = a_trainer(tmp_path)
    metrics = {f"eval_metric_number_{number}": 0.12345678901 for number in range(30)}
    trainer.state.log_history = [{"step": step, **metrics} for step in range(LOGS_KEPT)]
    kept = logged(trainer)
    without = len(state_of(trainer, 0))
    assert kept == trainer.state.log_history[-len(kept) :]
    assert ROOM - len(json.dumps(kept[0])) - 2 < len(state_of(trainer, ROOM)) - without <= ROOM


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
