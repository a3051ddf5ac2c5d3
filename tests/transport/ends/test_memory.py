"""New memory is memory, of whatever size; huge pages are not asked for where a host has taken them."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from checkpointheal.ends import memory

NONE, REPORTING = "0" * 64, "00000100" + "0" * 56


@pytest.mark.parametrize("size", [0, 1, memory.WORTH - 1, memory.WORTH, memory.WORTH + 12_345, 5 * memory.HUGE])
def test_new_memory_holds_what_is_written_into_it(size: int) -> None:
    new = memory.new(size)
    new.fill_(7)
    assert (new.numel(), new.sum().item()) == (size, 7 * size)
    new.untyped_storage().resize_(2 * size)
    assert new.sum().item() == 7 * size


def test_more_than_there_is_is_refused() -> None:
    with pytest.raises(RuntimeError):
        memory.new(1 << 60)


@pytest.mark.parametrize(
    ("devices", "taken"),
    [
        pytest.param({}, False, id="no balloon"),
        pytest.param({"virtio0": NONE}, False, id="a balloon that reports nothing"),
        pytest.param({"virtio0": REPORTING}, True, id="a balloon that reports free pages"),
        pytest.param({"virtio0": NONE, "virtio3": REPORTING}, True, id="one of two"),
        pytest.param({"bind": REPORTING}, False, id="no device"),
        pytest.param({"virtio0": ""}, False, id="a device that tells nothing"),
    ],
)
def test_a_host_takes_memory_back_where_a_balloon_reports_what_is_free(
    tmp_path: Path, devices: dict[str, str], taken: bool
) -> None:
    for name, features in devices.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "features").write_text(features + "\n")
    assert memory.is_taken_back(tmp_path) is taken


def test_what_cannot_be_read_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "virtio0" / "features").mkdir(parents=True)
    assert not memory.is_taken_back(tmp_path)


@pytest.mark.parametrize("taken_back", [False, True])
def test_huge_pages_are_advice_that_is_given_where_they_are_worth_it(
    monkeypatch: pytest.MonkeyPatch, taken_back: bool
) -> None:
    advised: list[int] = []
    monkeypatch.setattr(memory, "is_taken_back", lambda: taken_back)
    monkeypatch.setattr(
        memory, "_libc", SimpleNamespace(madvise=lambda _start, length, _advice: advised.append(length.value))
    )
    memory.new(memory.WORTH - 1)
    memory.new(2 * memory.WORTH)
    assert bool(advised) is not taken_back
    assert all(each % memory.HUGE == 0 and each > memory.WORTH for each in advised)
