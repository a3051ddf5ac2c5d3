"""A Lightning Trainer that is lost anywhere ends as if it had not been, whatever loader, hook or callback it has.

In one process: a life ends by an error, and the next one is given what the last commit kept.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightning", reason="lightning is not installed here: make integrations")
pytest.importorskip("torchdata", reason="torchdata is not installed here: make integrations")

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback, Checkpoint, EMAWeightAveraging
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.sampler import StatefulDistributedSampler

from builders_lightning import a_trainer
from builders_memory import Lost, Memory, live
from checkpointheal.integrations import lightning as healing

pytestmark = pytest.mark.filterwarnings("ignore")
POINTS = TensorDataset(torch.arange(12.0).reshape(12, 1))
BATCHES = 3


@dataclass
class Run:
    """A training of three epochs, over all its lives. `lost`: a point, and how many batches were computed before."""

    lost: tuple[str, int] | None = None
    seen: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    """By epoch and number the batch as it was computed last."""

    def pass_by(self, point: str, trainer: Any) -> None:
        """Lost here, once."""
        if self.lost == (point, trainer.fit_loop.total_batch_idx):
            self.lost = None
            raise Lost


class Net(LightningModule):  # type: ignore[misc]
    """Statistics of its own, dropout, and an average that it takes in hooks, as anybody may."""

    def __init__(self, run: Run, *brought: Callback) -> None:
        super().__init__()
        self.lives, self.brought = run, brought
        self.net = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 1))
        self.average = copy.deepcopy(self.net).requires_grad_(False)

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        self.lives.seen[self.trainer.current_epoch, number] = batch[0].flatten().tolist()
        self.lives.pass_by("batch", self.trainer)
        loss: torch.Tensor = (self.net(batch[0] / 12) - 1).square().mean()
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, number: int) -> None:
        self.follow()

    def validation_step(self, batch: Any, number: int) -> None:
        self.lives.pass_by("validation", self.trainer)

    def on_validation_end(self) -> None:
        self.follow()

    def follow(self) -> None:
        """The average goes where the weights are."""
        for mean, each in zip(self.average.parameters(), self.net.parameters(), strict=True):
            mean.data.lerp_(each.data, 0.1)

    def configure_callbacks(self) -> list[Callback]:
        return [*self.brought]

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.net.parameters(), lr=0.05)


class Counted:
    """How often it was called."""

    def __init__(self) -> None:
        self.counted = dict.fromkeys(("epochs", "batches"), 0)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.counted["epochs"] += 1

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.counted["batches"] += 1

    def state_dict(self) -> dict[str, Any]:
        return dict(self.counted)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.counted = dict(state_dict)


class Counting(Counted, Callback):  # type: ignore[misc]
    """As anybody writes one."""


class CountingAsACheckpoint(Counted, Checkpoint):  # type: ignore[misc]
    """Lightning puts such a one behind all others."""


@dataclass
class Job:
    """What is trained, and how."""

    loader: Callable[[], Any] = lambda: StatefulDataLoader(POINTS, batch_size=4)
    told: dict[str, Any] = field(default_factory=dict)
    callbacks: Callable[[], list[Callback]] = list
    brought: Callable[[], list[Callback]] = list
    validated: bool = False

    def life(self, run: Run, folder: Path) -> dict[str, Any]:
        """One process's."""
        healed = healing.restore()
        model, loader = Net(run, *self.brought()), self.loader()
        trainer = a_trainer(
            folder, **({"max_epochs": 3, "num_sanity_val_steps": 0} | self.told), callbacks=self.callbacks()
        )
        healed.fit(trainer, model, loader, *([DataLoader(POINTS, batch_size=12)] if self.validated else []))
        return {
            "model": model.state_dict(),
            "optimizer": trainer.optimizers[0].state_dict(),
            "stream": torch.get_rng_state(),
            "steps": [trainer.global_step, trainer.current_epoch],
            "counted": [each.counted for each in trainer.callbacks if isinstance(each, Counted)],
            "seen": run.seen,
        }


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    def check(job: Job, *lost: tuple[str, int]) -> None:
        def ended(run: Run, lives: int) -> dict[str, Any]:
            memory = Memory()
            monkeypatch.setattr(healing, "attach", memory.attach)
            told: dict[str, Any] = live(lambda: job.life(run, tmp_path), lives)
            assert memory.told[-1] == "done"
            return told

        undisturbed = ended(Run(), 1)
        for each in lost:
            torch.testing.assert_close(ended(Run(each), 2), undisturbed, rtol=0, atol=0)

    return check


def loader(**told: Any) -> Callable[[], Any]:
    return lambda: StatefulDataLoader(POINTS, batch_size=4, **{name: each() for name, each in told.items()})


LOADERS = {
    "plain": loader(),
    "shuffled": loader(shuffle=lambda: True),
    "shuffled by a generator of its own": loader(
        shuffle=lambda: True, generator=lambda: torch.Generator().manual_seed(1)
    ),
    "torch's sampler": loader(sampler=lambda: DistributedSampler(POINTS, num_replicas=1, rank=0)),
    "torchdata's sampler": loader(sampler=lambda: StatefulDistributedSampler(POINTS, num_replicas=1, rank=0)),
    "workers": loader(num_workers=lambda: 2),
    "workers that stay": loader(num_workers=lambda: 2, persistent_workers=lambda: True),
    "workers and torchdata's sampler": loader(
        num_workers=lambda: 2, sampler=lambda: StatefulDistributedSampler(POINTS, num_replicas=1, rank=0)
    ),
}


@pytest.mark.parametrize("name", LOADERS)
def test_no_batch_is_left_out_where_an_epoch_begins_or_within_it(ends: Callable[..., None], name: str) -> None:
    ends(Job(LOADERS[name]), ("batch", BATCHES), ("batch", BATCHES + 1))


@pytest.mark.parametrize(
    ("told", "lost"), [({"limit_train_batches": 2}, 2), ({"accumulate_grad_batches": 2}, BATCHES)], ids=str
)
def test_no_batch_is_left_out_where_an_epoch_takes_other_batches_than_a_pass(
    ends: Callable[..., None], told: dict[str, Any], lost: int
) -> None:
    ends(Job(LOADERS["shuffled"], told), ("batch", lost), ("batch", lost + 1))


def test_what_a_module_does_in_its_own_hooks_is_in_the_same_commit(ends: Callable[..., None]) -> None:
    ends(Job(told={"val_check_interval": 2}, validated=True), ("batch", 1), ("batch", 2), ("validation", 4))


def test_the_average_of_weight_averaging_comes_back(ends: Callable[..., None]) -> None:
    ends(Job(callbacks=lambda: [EMAWeightAveraging(decay=0.9)]), ("batch", 2), ("batch", BATCHES))


def test_what_callbacks_count_is_that_of_the_same_step_wherever_they_come_from(ends: Callable[..., None]) -> None:
    job = Job(callbacks=lambda: [Counting()], brought=lambda: [CountingAsACheckpoint()])
    ends(job, ("batch", 2), ("batch", BATCHES))


def test_hooks_are_the_modules_own_again_when_it_is_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def by_hand() -> None:
        """On the module itself, not on its class."""

    monkeypatch.setattr(healing, "attach", Memory().attach)
    model, trainer = Net(Run()), a_trainer(tmp_path)
    model.on_validation_end = by_hand
    healing.restore().fit(trainer, model, LOADERS["plain"]())
    assert (model.on_validation_end, "on_train_batch_end" in vars(model)) == (by_hand, False)
    assert not any(type(each).__module__.startswith("checkpointheal") for each in trainer.callbacks)
