"""Schedules, an average of the weights, a loss scale and a loader's position come back bit for bit."""

from pathlib import Path

import pytest

pytest.importorskip("torchdata", reason="torchdata is not installed here: make integrations")

import builders_adapters as build
from builders_adapters import Kill

pytestmark = [pytest.mark.kills, pytest.mark.timeout(900)]
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
