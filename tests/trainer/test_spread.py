"""At a fresh start all replicas begin with the first one's tensors, and the group for that does not stay."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from builders_trainer import Training
from checkpointheal import errors
from checkpointheal.trainer import devices
from checkpointheal.trainer.epoch import Epoch
from checkpointheal.trainer.membership import Membership
from checkpointheal.trainer.parts import declare


class Moment:
    """The groups of this process, of which one lasts for the spread alone. `told`: what happens, in turn."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def between(self, _name: str, _peers: list[int]) -> Any:
        self.told.append("made")
        return SimpleNamespace(broadcast=lambda *_: SimpleNamespace(wait=lambda: self.told.append("spread")))

    def part(self, _inside: Any) -> None:
        self.told.append("parted")

    def is_broken(self) -> bool:
        return False


@pytest.fixture
def moment() -> Moment:
    return Moment()


def spread(moment: Moment, epoch: Epoch, peers: list[int]) -> list[str]:
    groups: Any = moment
    line: Any = None
    parts = Training().parts()
    Membership(declare(parts, parts.pop("private")), line, groups, 0)._spread(epoch, peers)
    return list(dict.fromkeys(moment.told))


def test_before_the_first_epoch_an_update_is_the_programs_own(moment: Moment) -> None:
    groups: Any = moment
    line: Any = None
    training = Training()
    membership = Membership(declare({"optimizer": training.optimizer}, {}), line, groups, 0)
    training.optimizer.step()
    assert not membership.has_updated


def an_epoch() -> Epoch:
    return Epoch(1, lambda: None, lambda: None)


def test_it_is_parted_with_once_everything_is_spread(moment: Moment) -> None:
    assert spread(moment, an_epoch(), [0, 1]) == ["made", "spread", "parted"]


def test_one_replica_needs_no_group_for_it(moment: Moment) -> None:
    assert spread(moment, an_epoch(), [0]) == []


def test_on_a_device_it_is_parted_with_once_that_is_through(moment: Moment, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait_for(tensors: list[torch.Tensor]) -> None:
        assert len(list(tensors)) > 0
        moment.told.append("waited")

    monkeypatch.setattr(devices, "are_in_use", lambda: True)
    monkeypatch.setattr(devices, "are_recorded", lambda: False)
    monkeypatch.setattr(devices, "wait_for", wait_for)
    assert spread(moment, an_epoch(), [0, 1]) == ["made", "spread", "waited", "parted"]


def test_a_spread_that_was_aborted_begins_no_epoch(moment: Moment, monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = an_epoch()
    monkeypatch.setattr(devices, "are_in_use", lambda: True)
    monkeypatch.setattr(devices, "are_recorded", lambda: False)
    monkeypatch.setattr(devices, "wait_for", lambda _: setattr(epoch.faults, "over", True))
    with pytest.raises(errors.EpochOver, match="went on behind an aborted collective"):
        spread(moment, epoch, [0, 1])
    assert "parted" not in moment.told
