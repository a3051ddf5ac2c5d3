"""Replicas that FSDP2 has cut heal each other shard by shard, and end with the bits of a run that was not harmed."""

from pathlib import Path

import pytest
import torch
from torch import nn

import builders_adapters as build
from builders_adapters import Kill
from checkpointheal.errors import Misuse
from checkpointheal.integrations.fsdp2 import Shards

pytestmark = [pytest.mark.kills, pytest.mark.timeout(900)]
PROGRAM = "program_fsdp2.py"


def test_whoever_is_killed_and_when_everything_ends_the_same(tmp_path: Path) -> None:
    kills = [Kill(3, "step", 3), Kill(0, "updated", 7), Kill(2, "step", 12, pod=True)]
    undisturbed = build.plain(PROGRAM, tmp_path / "plain", 4)
    harmed = build.healed(PROGRAM, tmp_path / "harmed", kills, 2, "--ranks", "2", "--restarts", "20")
    build.assert_healed(build.Seen(harmed.folder, 4), undisturbed, kills)


def test_statistics_of_a_rank_are_refused_by_name() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4))
    with pytest.raises(Misuse, match=r"0\.num_batches_tracked is a rank's own"):
        Shards().fill(model, torch.optim.SGD(model.parameters()))
