"""What is seen when the first update after a restore is made: a step that is counted wrong, layers that were frozen."""

import pytest
import torch
from torch import nn

from builders_trainer import Training, warnings_of
from checkpointheal.trainer.first_update import FirstUpdate
from checkpointheal.trainer.parts import Parts, declare


class Layers:
    """Two layers, of which the last may be frozen at first."""

    def __init__(self, *, frozen: bool) -> None:
        self.model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        self.freeze(frozen)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def parts(self):
        return {"model": self.model, "optimizer": self.optimizer}

    def freeze(self, frozen):
        self.model[1].requires_grad_(not frozen)

    def step(self):
        self.optimizer.zero_grad()
        self.model[0](torch.ones(1, 2)).sum().backward()
        self.optimizer.step()


def kept(attach, agent, training, step=2):
    heal = attach(training)
    heal.restore()
    training.step()
    heal.commit(step)
    agent.names(agent.slot_of(step))


def test_a_step_that_is_said_of_the_update_after_it_is_told_once(attach, agent, caplog):
    kept(attach, agent, Training())
    heal = attach(training := Training())
    for step in range(heal.restore(), 5):
        training.step()
        heal.commit(step)
    (said,) = [each for each in warnings_of(caplog) if "commit(2)" in each]
    assert "behind an update of the state of step 2" in said
    assert not training.optimizer._optimizer_step_post_hooks


def test_a_commit_before_its_update_is_as_good_as_one_behind_it(attach, agent, caplog):
    kept(attach, agent, Training())
    heal = attach(training := Training())
    for step in range(heal.restore(), 5):
        heal.commit(step)
        training.step()
    assert not warnings_of(caplog)
    assert not training.optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize(
    ("then", "now", "told"),
    [
        (False, True, "model.1.weight and 1 more: frozen now, and trained when step 2"),
        (True, False, "model.1.weight and 1 more: trained now, and frozen when step 2"),
        (True, True, ""),
        (False, False, ""),
    ],
)
def test_layers_that_are_frozen_otherwise_than_when_they_were_kept_are_named(attach, agent, caplog, then, now, told):
    kept(attach, agent, Layers(frozen=then))
    heal = attach(layers := Layers(frozen=now))
    heal.restore()
    for _ in range(2):
        layers.step()
    said = [each for each in warnings_of(caplog) if "requires_grad" in each]
    assert [told in each for each in said] == ([True] if told else [])


def test_who_freezes_by_the_step_that_restore_gave_back_is_told_nothing(attach, agent, caplog):
    layers = Layers(frozen=True)
    heal = attach(layers)
    heal.restore()
    layers.freeze(False)
    layers.step()
    heal.commit(2)
    agent.names(agent.slot_of(2))
    heal = attach(layers := Layers(frozen=True))
    if heal.restore() >= 1:
        layers.freeze(False)
    layers.step()
    assert not [each for each in warnings_of(caplog) if "requires_grad" in each]


def test_who_freezes_a_whole_model_while_another_trains_is_told_nothing(attach, agent, caplog):
    both = Layers(frozen=True)
    both.model[0].requires_grad_(False)
    heal = attach(both)
    heal.restore()
    heal.commit(2)
    agent.names(agent.slot_of(2))
    heal = attach(again := Layers(frozen=False))
    heal.restore()
    again.step()
    assert not [each for each in warnings_of(caplog) if "requires_grad" in each]


def test_a_private_part_of_an_older_build_does_not_say_what_trained(attach, agent, caplog, monkeypatch):
    whole = Parts.private_state
    with monkeypatch.context() as older:
        older.setattr(Parts, "private_state", lambda self: {k: v for k, v in whole(self).items() if k != "trained"})
        kept(attach, agent, Layers(frozen=False))
    heal = attach(layers := Layers(frozen=True))
    assert heal.restore() == 2
    layers.step()
    assert not warnings_of(caplog)


@pytest.mark.parametrize("trained", [b"\x01", "\x01\x01\x01\x01"], ids=["of other parameters", "no bytes"])
def test_what_trained_then_is_not_compared_where_it_cannot_be_read(caplog, trained):
    layers = Layers(frozen=True)
    first = FirstUpdate(declare(layers.parts(), {}))
    first.expect(2, {"optimizer": trained})
    layers.step()
    assert first.is_behind(2)
    assert not caplog.records
