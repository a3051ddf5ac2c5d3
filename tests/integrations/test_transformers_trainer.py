"""A Hugging Face Trainer whose ranks are killed ends with the bits of one that was never harmed."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="transformers is not installed here: make integrations")

import builders_adapters as build
from builders_adapters import Kill

pytestmark = pytest.mark.timeout(900)
PROGRAM = "program_transformers.py"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> build.Seen:
    return build.plain(PROGRAM, tmp_path_factory.mktemp("transformers") / "plain")


def test_whoever_is_killed_and_when_everything_ends_the_same(tmp_path: Path, undisturbed: build.Seen) -> None:
    kills = [
        Kill(1, "first micro-batch", 2),
        Kill(0, "second micro-batch", 5),  # in the middle of what is accumulated
        Kill(2, "first micro-batch", 8),  # where an epoch of the data begins
        Kill(1, "saved", 10),
        Kill(0, "updated", 13),
        Kill(2, "logged", 15, pod=True),
        Kill(0, "first micro-batch", 21),
    ]
    harmed = build.healed(PROGRAM, tmp_path / "harmed", kills, 3, "--restarts", "20")
    build.assert_healed(harmed, undisturbed, kills)
    assert not list(harmed.folder.glob("tmp/checkpointheal-*")), "what was written to resume from is gone"


def test_where_no_memory_is_left_it_resumes_from_the_trainers_own_checkpoint(
    tmp_path: Path, undisturbed: build.Seen
) -> None:
    (folder := tmp_path / "again").mkdir()
    shutil.copytree(undisturbed.folder / "own" / "checkpoint-10", folder / "own" / "checkpoint-10")
    harmed = build.healed(PROGRAM, folder, [Kill(1, "first micro-batch", 14)])
    assert [step for step, _ in harmed.begun()] == [None, 14]
    assert harmed.ends("logs") == undisturbed.ends("logs"), "the Trainer's own files do not hold sums of the next entry"
    assert (folder / "own" / "checkpoint-20" / "trainer_state.json").exists()
