"""A loader's position comes back sample by sample, and a loader whose order would not is refused by name."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("torchdata", reason="torchdata is not installed here: make integrations")

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader import sampler as stateful

from checkpointheal.errors import Misuse
from checkpointheal.integrations.torchdata import PATIENCE, Position

pytestmark = pytest.mark.filterwarnings("ignore")
POINTS = TensorDataset(torch.arange(8.0).reshape(8, 1))


def a_loader(**told: Any) -> StatefulDataLoader:
    return StatefulDataLoader(POINTS, **({"generator": torch.Generator().manual_seed(1)} | told))


def a_pass(batches: Any) -> list[list[float]]:
    return [each.flatten().tolist() for (each,) in batches]


def of_torchdata() -> StatefulDataLoader:
    own = torch.Generator().manual_seed(1)
    order = stateful.RandomSampler(POINTS, generator=own)
    return a_loader(batch_sampler=stateful.BatchSampler(order, 2, drop_last=False), generator=own)


LOADERS = {
    "shuffled": lambda: a_loader(shuffle=True),
    "shuffled by workers": lambda: a_loader(shuffle=True, num_workers=2),
    "torch's sampler": lambda: a_loader(sampler=DistributedSampler(POINTS, 1, 0)),
    "torch's sampler in batches": lambda: a_loader(
        batch_sampler=BatchSampler(DistributedSampler(POINTS, 1, 0), 2, drop_last=False)
    ),
    "torchdata's sampler": lambda: a_loader(sampler=stateful.StatefulDistributedSampler(POINTS, 1, 0)),
    "torchdata's sampler in batches": of_torchdata,
}


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("taken", [0, 3])
def test_the_next_sample_is_the_one_that_was_next_in_this_pass_and_in_the_one_behind_it(name: str, taken: int) -> None:
    loader, restored = LOADERS[name](), LOADERS[name]()
    batches = iter(loader)
    for _ in range(taken):
        next(batches)
    state = Position(loader).state_dict()
    Position(restored).load_state_dict(state)
    assert a_pass(restored) == a_pass(batches)
    assert a_pass(restored) == a_pass(loader)


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"generator": None}, "no generator="),
        ({"sampler": RandomSampler(POINTS)}, "a RandomSampler, whose order is drawn"),
        ({"sampler": WeightedRandomSampler([1.0] * 8, 8)}, "a WeightedRandomSampler, whose order is drawn"),
        ({"sampler": SubsetRandomSampler(range(8))}, "a SubsetRandomSampler, whose order is drawn"),
        ({"batch_sampler": BatchSampler(RandomSampler(POINTS), 2, drop_last=False)}, "a RandomSampler, whose order"),
        (
            {"batch_sampler": BatchSampler(stateful.RandomSampler(POINTS), 2, drop_last=False)},
            "a RandomSampler inside torch's BatchSampler, whose order is drawn",
        ),
    ],
    ids=str,
)
def test_a_loader_that_cannot_be_taken_up_is_refused_by_name(told: dict[str, Any], named: str) -> None:
    with pytest.raises(Misuse, match=named):
        Position(a_loader(**told))


def test_a_loader_of_another_kind_is_refused_by_name() -> None:
    with pytest.raises(Misuse, match="was given a DataLoader"):
        Position(DataLoader(POINTS))


def committed(position: Position) -> None:
    for _ in range(PATIENCE):
        position.state_dict()


@pytest.fixture
def prepared() -> Iterator[Callable[[StatefulDataLoader], Any]]:
    """What accelerate makes of a loader."""
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed here: make integrations")
    from accelerate.state import AcceleratorState, GradientState

    yield accelerate.Accelerator(cpu=True).prepare
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def test_a_loader_from_which_nobody_takes_a_batch_is_told_at_a_commit(
    prepared: Callable[[StatefulDataLoader], Any],
) -> None:
    loader = a_loader(shuffle=True)
    position = Position(loader)
    next(iter(prepared(loader)))
    with pytest.raises(Misuse, match="no batch was taken"):
        committed(position)


def test_a_loader_that_waits_for_its_turn_is_not_told_of() -> None:
    now, later = a_loader(), a_loader()
    position, its = Position(later), Position(now)
    next(iter(now))
    committed(position)
    committed(its)


def test_a_loader_that_goes_on_later_than_it_was_healed_is_not_told_of() -> None:
    loader = a_loader()
    position = Position(loader)
    next(iter(loader))
    state = position.state_dict()
    del position, loader
    restored = Position(a_loader())
    restored.load_state_dict(state)
    committed(restored)
