"""Schedules, an average of the weights, a loss scale and a loader's position come back bit for bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torchdata", reason="torchdata is not installed here: make integrations")

import torch
from torch.utils.data import DataLoader, RandomSampler, TensorDataset
from torchdata.stateful_dataloader import StatefulDataLoader

import builders_adapters as build
from builders_adapters import Kill
from checkpointheal.errors import Misuse
from checkpointheal.integrations.torchdata import Position

pytestmark = [pytest.mark.kills, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]
POINTS = TensorDataset(torch.arange(8.0).reshape(8, 1))
PROGRAM = "program_parts.py"


def test_whoever_is_killed_and_when_everything_ends_the_same(tmp_path: Path) -> None:
    kills = [
        Kill(0, "updated", 3),
        Kill(2, "step", 8),  # where an epoch of the data begins
        Kill(1, "step", 13, pod=True),
        Kill(0, "step", 19),
    ]
    undisturbed = build.plain(PROGRAM, tmp_path / "plain")
    harmed = build.healed(PROGRAM, tmp_path / "harmed", kills, 3, "--restarts", "20")
    build.assert_healed(harmed, undisturbed, kills)


def a_generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_next_sample_is_the_one_that_was_next(workers: int) -> None:
    def a_loader() -> StatefulDataLoader:
        return StatefulDataLoader(POINTS, batch_size=1, shuffle=True, num_workers=workers, generator=a_generator())

    loader, restored = a_loader(), a_loader()
    batches = iter(loader)
    for _ in range(3):
        next(batches)
    state = Position(loader).state_dict()
    Position(restored).load_state_dict(state)
    assert [float(each) for (each,) in restored] == [float(each) for (each,) in batches]


@pytest.mark.parametrize(
    ("loader", "named"),
    [
        (lambda: DataLoader(POINTS), "was given a DataLoader"),
        (lambda: StatefulDataLoader(POINTS), "no generator="),
        (
            lambda: StatefulDataLoader(POINTS, sampler=RandomSampler(POINTS), generator=a_generator()),
            "torch's RandomSampler",
        ),
    ],
)
def test_a_loader_that_cannot_be_taken_up_is_refused_by_name(loader: Callable[[], Any], named: str) -> None:
    with pytest.raises(Misuse, match=named):
        Position(loader())
