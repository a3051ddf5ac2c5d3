"""What a Lightning Trainer could not take up again is refused by name, before it trains."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightning", reason="lightning is not installed here: make integrations")
pytest.importorskip("torchdata", reason="torchdata is not installed here: make integrations")

import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import EMAWeightAveraging, StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.strategies import FSDPStrategy
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from torchdata.stateful_dataloader import StatefulDataLoader

from builders_lightning import POINTS, Net, a_trainer
from checkpointheal.errors import Misuse
from checkpointheal.integrations import lightning as healing

pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_loader_that_does_not_know_its_position_is_named_with_one_that_does(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"a DataLoader, which does not know its position: use torchdata"):
        healing.restore().fit(a_trainer(tmp_path), Net(), DataLoader(POINTS))


class Endless(IterableDataset[list[torch.Tensor]]):
    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        yield [torch.zeros(1)]


def test_a_loader_that_is_read_ahead_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="no length"):
        healing.restore().fit(a_trainer(tmp_path), Net(), StatefulDataLoader(Endless()))


def test_several_loaders_are_named(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="several train dataloaders"):
        healing.restore().fit(a_trainer(tmp_path), Net(), [StatefulDataLoader(POINTS), StatefulDataLoader(POINTS)])


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"sampler": RandomSampler(POINTS)}, "a RandomSampler, whose order is drawn"),
        ({"sampler": WeightedRandomSampler([1.0] * 8, 8)}, "a WeightedRandomSampler, whose order is drawn"),
        ({"sampler": SubsetRandomSampler(range(8))}, "a SubsetRandomSampler, whose order is drawn"),
        ({"batch_sampler": BatchSampler(RandomSampler(POINTS), 2, drop_last=False)}, "a RandomSampler, whose order"),
        (
            {"sampler": type("DistributedSamplerWrapper", (DistributedSampler,), {})(POINTS, 1, 0)},
            "a DistributedSamplerWrapper, whose order is drawn",
        ),
    ],
    ids=str,
)
def test_an_order_that_is_drawn_when_an_epoch_begins_is_named(tmp_path: Path, told: dict[str, Any], named: str) -> None:
    with pytest.raises(Misuse, match=named):
        healing.restore().fit(a_trainer(tmp_path), Net(), StatefulDataLoader(POINTS, **told))


@pytest.mark.parametrize(
    ("callbacks", "named"),
    [
        ([StochasticWeightAveraging(0.1)], "StochasticWeightAveraging puts a schedule of its own"),
        ([WeightAveraging(), EMAWeightAveraging()], "several WeightAveraging callbacks"),
    ],
    ids=["stochastic", "several"],
)
def test_an_average_that_cannot_come_back_is_named(tmp_path: Path, callbacks: list[Any], named: str) -> None:
    with pytest.raises(Misuse, match=named):
        healing.restore().fit(a_trainer(tmp_path, callbacks=callbacks), Net(), StatefulDataLoader(POINTS))


def test_a_schedule_that_waits_for_a_metric_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="ReduceLROnPlateau"):
        healing.restore().fit(
            a_trainer(tmp_path), Net(torch.optim.lr_scheduler.ReduceLROnPlateau), StatefulDataLoader(POINTS)
        )


@pytest.mark.parametrize(
    ("told", "named"),
    [({"reload_dataloaders_every_n_epochs": 1}, "reload_dataloaders_every_n_epochs")],
)
def test_an_argument_that_cannot_be_healed_is_named(tmp_path: Path, told: dict[str, Any], named: str) -> None:
    with pytest.raises(Misuse, match=named):
        healing.restore().fit(a_trainer(tmp_path, **told), Net(), StatefulDataLoader(POINTS))


def test_a_strategy_that_saves_by_code_of_its_own_is_named(tmp_path: Path) -> None:
    trainer = a_trainer(tmp_path)
    trainer.strategy.__class__ = type("Sharded", (FSDPStrategy,), {})
    with pytest.raises(Misuse, match="is Sharded, which saves"):
        healing.restore().fit(trainer, Net(), StatefulDataLoader(POINTS))


class Cut(Net):
    """Each rank has a part of its optimizer."""

    def configure_optimizers(self) -> Any:
        return ZeroRedundancyOptimizer(self.parameters(), torch.optim.SGD, lr=0.1)


def test_an_optimizer_that_is_cut_over_the_ranks_is_named(tmp_path: Path) -> None:
    healed = healing.restore()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(Misuse, match="the Trainer's optimizer is a ZeroRedundancyOptimizer: each rank has a shard"):
            healed.fit(a_trainer(tmp_path), Cut(), StatefulDataLoader(POINTS))
    finally:
        dist.destroy_process_group()


def test_restore_comes_before_the_process_group_is_joined() -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(Misuse, match="the process group is there already"):
            healing.restore()
    finally:
        dist.destroy_process_group()


def test_one_restore_is_for_one_training(tmp_path: Path) -> None:
    healed = healing.restore()
    healed.fit(a_trainer(tmp_path), Net(), StatefulDataLoader(POINTS))
    with pytest.raises(Misuse, match="one fit"):
        healed.fit(a_trainer(tmp_path), Net(), StatefulDataLoader(POINTS))
