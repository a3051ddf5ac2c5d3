"""A device is waited for where the updated tensors lie, and nowhere else."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from checkpointheal.trainer import devices

FIRST, SECOND = torch.device("cuda", 0), torch.device("cuda", 1)


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[torch.device | None]:
    """The devices whose current stream was waited for; None: the current one's."""
    found: list[torch.device | None] = []

    def stream(device: torch.device | None) -> Any:
        return SimpleNamespace(synchronize=lambda: found.append(device))

    monkeypatch.setattr(torch.cuda, "current_stream", stream)
    return found


def lying(*places: torch.device) -> Any:
    return [SimpleNamespace(device=each, is_cuda=each.type == "cuda") for each in places]


def test_each_device_is_waited_for_once_and_the_current_one_is_not(waited: list[torch.device | None]) -> None:
    devices.wait_for(lying(SECOND, torch.device("cpu"), SECOND, FIRST))
    assert sorted(map(str, waited)) == ["cuda:0", "cuda:1"]


def test_where_only_the_cpu_updates_the_current_device_is_waited_for(waited: list[torch.device | None]) -> None:
    devices.wait_for(lying(torch.device("cpu")))
    assert waited == [None]


def test_a_process_that_asked_nothing_of_a_device_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert not devices.are_in_use()


def test_what_a_graph_records_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert devices.are_recorded()
