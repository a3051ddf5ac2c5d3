"""A Lightning Trainer whose ranks are killed ends with the bits of one that was never harmed."""

from pathlib import Path

import pytest

pytest.importorskip("lightning", reason="lightning is not installed here: make integrations")
pytest.importorskip("torchdata", reason="torchdata is not installed here: make integrations")

import builders_adapters as build
from builders_adapters import Kill

pytestmark = pytest.mark.timeout(900)
PROGRAM = "program_lightning.py"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> build.Seen:
    return build.plain(PROGRAM, tmp_path_factory.mktemp("lightning") / "plain")


def test_whoever_is_killed_and_when_everything_ends_the_same(tmp_path: Path, undisturbed: build.Seen) -> None:
    kills = [
        Kill(1, "batch", 1),
        Kill(0, "second batch", 3),  # in the middle of what is accumulated
        Kill(2, "batch", 4),  # where an epoch begins
        Kill(1, "backward", 5),
        Kill(0, "validation", 6),
        Kill(2, "batch", 7, pod=True),
        Kill(1, "batch", 8),
        Kill(0, "batch", 11),
    ]
    harmed = build.healed(PROGRAM, tmp_path / "harmed", kills, 3, "--restarts", "20")
    build.assert_healed(harmed, undisturbed, kills)
