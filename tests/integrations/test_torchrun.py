"""torchrun ends every rank when one is lost, and each goes on from its own pod's memory with the bits that it had."""

from pathlib import Path

import pytest

import builders_adapters as build
from builders_adapters import Kill

pytestmark = [pytest.mark.kills, pytest.mark.timeout(900)]
PROGRAM = "program_torchrun.py"


def test_whoever_is_killed_everything_ends_the_same(tmp_path: Path) -> None:
    kills = [Kill(1, "step", 3), Kill(0, "updated", 7), Kill(2, "step", 12)]
    undisturbed = build.plain(PROGRAM, tmp_path / "plain")
    harmed = build.healed(build.by_torchrun(PROGRAM), tmp_path / "harmed", kills)
    build.assert_healed(harmed, undisturbed, kills)
