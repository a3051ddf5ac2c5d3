"""A part that changes its form is restored where its owner can take it, and its user is warned where nobody could."""

import re
from collections import deque

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from builders_trainer import Training, warnings_of
from checkpointheal.errors import SchemaDiffers, UnsupportedLeaf


class Book:
    """What a user keeps beside a model."""

    def __init__(self, **held) -> None:
        self.held = held

    def state_dict(self):
        return self.held

    def load_state_dict(self, state) -> None:
        self.held = state


class Means(nn.Module):
    """A buffer that is filled by its first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.register_buffer("mean", None)


class Few(Training):
    """Only these parts."""

    def __init__(self, **parts) -> None:
        self._parts = parts

    def parts(self):
        return self._parts


def test_a_book_that_grows_is_restored_by_one_that_is_empty_and_by_one_that_has_grown_further(attach, agent, caplog):
    book = Book(losses=[], last=deque(maxlen=3), best=None)
    heal = attach(Few(model=nn.Linear(2, 2), book=book))
    heal.restore()
    for step in (1, 2):
        book.held["losses"].append(float(step))
        book.held["last"].append(step)
        book.held["best"] = torch.full((step,), 0.5)
        heal.commit(step)
    assert not warnings_of(caplog)
    agent.names(agent.slot_of(step=1))
    for fresh in (Book(losses=[], last=deque(maxlen=3), best=None), book):
        assert attach(Few(model=nn.Linear(2, 2), book=fresh)).restore() == 1
        assert (fresh.held["losses"], list(fresh.held["last"]), fresh.held["best"].tolist()) == ([1.0], [1], [0.5])


def test_a_part_of_very_many_single_values_is_named_once_for_each_commit_looks_at_all_of_them(attach, agent, caplog):
    few, many = Book(losses=[0.5] * 99), Book(losses=[0.5] * 9_000)
    heal = attach(Few(**{"few.of": few, "many.of": many, "model": nn.Linear(2, 2)}))
    heal.restore()
    heal.commit(1)
    assert not warnings_of(caplog)
    for step in (2, 3):
        many.held["losses"] += [0.5] * 2_000
        heal.commit(step)
    (told,) = warnings_of(caplog)
    assert "many.of holds 11000 single values" in told
    assert "in one tensor" in told


CHANGES = {
    "pruned": (lambda: nn.Linear(2, 2), lambda each: prune.random_unstructured(each, "weight", 0.5), r"model\.weight"),
    "filled": (Means, lambda each: setattr(each, "mean", torch.ones(2)), r"model\.mean"),
    "another dtype": (lambda: nn.Linear(2, 2), lambda each: each.bfloat16(), r"model\.bias"),
    "made by its first batch": (lambda: nn.LazyLinear(2), lambda each: each(torch.ones(1, 2)), r"model\.bias"),
}


@pytest.mark.parametrize(("make", "change", "named"), CHANGES.values(), ids=CHANGES)
def test_a_model_that_changes_its_form_is_named_once_when_it_is_kept(attach, agent, caplog, make, change, named):
    model = make()
    heal = attach(Few(model=model))
    heal.restore()
    change(model)
    for step in (1, 2):
        heal.commit(step)
    (said,) = [each for each in warnings_of(caplog) if "another form" in each]
    assert re.search(named, said)
    assert agent.slot_of(step=2) is not None


def add_a_group(optimizer):
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})


def begin_a_schedule(optimizer):
    torch.optim.lr_scheduler.StepLR(optimizer, 1)


@pytest.mark.parametrize("change", [add_a_group, begin_a_schedule])
def test_an_optimizer_whose_groups_change_is_named_and_nothing_can_take_it(attach, agent, caplog, change):
    def make():
        return Few(model=(model := nn.Linear(2, 2)), optimizer=torch.optim.SGD(model.parameters(), lr=0.1))

    heal = attach(training := make())
    heal.restore()
    change(training.parts()["optimizer"])
    heal.commit(1)
    assert [each for each in warnings_of(caplog) if "optimizer.param_groups has another form" in each]
    agent.names(agent.slot_of(step=1))
    with pytest.raises(SchemaDiffers, match="make the parts as they were when it was kept"):
        attach(make()).restore()


def test_what_is_no_more_than_trained_has_no_other_form(attach, agent, caplog):
    training = Training()
    heal = attach(training)
    heal.restore()
    for step in (1, 2, 3):
        training.step()
        heal.commit(step)
    agent.names(agent.slot_of(step=3))
    heal = attach(training := Training())
    heal.restore()
    training.step()
    heal.commit(4)
    assert not [each for each in warnings_of(caplog) if "another form" in each]


def test_a_buffer_that_cannot_cross_is_told_at_the_first_commit_and_not_by_restore(attach, agent):
    model = nn.Linear(2, 2)
    model.register_buffer("mask", torch.eye(2).to_sparse())
    heal = attach(Few(model=model))
    heal.restore()
    with pytest.raises(UnsupportedLeaf, match=r"model\.mask is .*give its to_dense\(\)"):
        heal.commit(1)


def test_what_a_module_holds_besides_plain_tensors_is_no_other_form(attach, agent, caplog):
    class Extra(nn.Linear):
        extra = 0

        def get_extra_state(self):
            return {"t": torch.zeros(self.extra)}

        def set_extra_state(self, state):
            self.extra = len(state["t"])

    heal = attach(Few(model=(model := Extra(2, 2))))
    heal.restore()
    model.extra = 2
    heal.commit(1)
    assert not warnings_of(caplog)
