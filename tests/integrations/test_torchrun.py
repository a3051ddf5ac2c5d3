"""torchrun ends every rank when one is lost, and each goes on from its own pod's memory with the bits that it had."""

from pathlib import Path

import pytest

import builders_adapters as build
from builders_adapters import Kill

pytestmark = [pytest.mark.kills, pytest.mark.timeout(900)]
PROGRAM = "program_torchrun.py"
SECOND_IS_FIRST = (
    "--local-addr 127.0.0.$((1 + (PLACE + 2) % 3)) --rdzv-conf is_host=$([ $PLACE = 0 ] && echo true || echo false)"
)
"""torchrun numbers its agents by their addresses; the store that they meet by is with place 0."""


def test_whoever_is_killed_everything_ends_the_same(tmp_path: Path) -> None:
    kills = [Kill(1, "step", 3), Kill(0, "updated", 7), Kill(2, "step", 12)]
    undisturbed = build.plain(PROGRAM, tmp_path / "plain")
    harmed = build.healed(build.by_torchrun(PROGRAM), tmp_path / "harmed", kills)
    build.assert_healed(harmed, undisturbed, kills)


def test_torchruns_first_pod_is_replaced_and_all_meet_again(tmp_path: Path) -> None:
    kills = [Kill(1, "step", 5, pod=True)]
    undisturbed = build.plain(PROGRAM, tmp_path / "plain")
    harmed = build.healed(build.by_torchrun(PROGRAM, SECOND_IS_FIRST), tmp_path / "harmed", kills)
    build.assert_healed(harmed, undisturbed, kills)
