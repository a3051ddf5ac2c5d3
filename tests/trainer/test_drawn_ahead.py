"""Of a batch that is drawn before a commit and used behind it, what comes back? As docs/training-loop.md tells it."""

import pytest
import torch
from torch import nn

STEPS, LOST = 6, 3


class Ahead:
    """The batch that the next step trains on."""

    batch = None

    def state_dict(self):
        return {"batch": self.batch}

    def load_state_dict(self, state):
        self.batch = state["batch"]


class Loop:
    """A job whose batches come of torch's stream, and what it trained on."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model, self.ahead = nn.Linear(2, 1), Ahead()
        self.trained_on = []

    def parts(self):
        return {"model": self.model, "private": {"ahead": self.ahead}}

    def take(self, batch):
        self.trained_on.append(batch.tolist())


def draw():
    return torch.rand(2)


def draws_behind_commit(loop, heal, steps):
    for step in steps:
        batch = draw()
        loop.take(batch)
        heal.commit(step + 1)


def keeps_it_in_a_private_part(loop, heal, steps):
    if loop.ahead.batch is None:
        loop.ahead.batch = draw()
    for step in steps:
        batch, loop.ahead.batch = loop.ahead.batch, draw()
        loop.take(batch)
        heal.commit(step + 1)


def keeps_it_in_a_variable(loop, heal, steps):
    ahead = draw()
    for step in steps:
        batch, ahead = ahead, draw()
        loop.take(batch)
        heal.commit(step + 1)


def trained(attach, agent, train):
    """On what a job did that lost its process behind a commit, and then went on."""
    lost, back = Loop(), Loop()
    heal = attach(lost)
    heal.restore()
    train(lost, heal, range(LOST))
    agent.names(agent.slot_of(LOST))
    heal = attach(back)
    train(back, heal, range(heal.restore(), STEPS))
    return lost.trained_on + back.trained_on


class Unharmed:
    """Keeps nothing, and needs to."""

    def commit(self, step):
        pass


def undisturbed(train):
    loop = Loop()
    train(loop, Unharmed(), range(STEPS))
    return loop.trained_on


@pytest.mark.parametrize("train", [draws_behind_commit, keeps_it_in_a_private_part])
def test_no_batch_is_skipped_by_a_heal(attach, agent, train):
    assert trained(attach, agent, train) == undisturbed(train)


def test_a_batch_in_a_variable_is_skipped_by_a_heal_and_no_other(attach, agent):
    went_on, all_of_them = trained(attach, agent, keeps_it_in_a_variable), undisturbed(keeps_it_in_a_variable)
    assert went_on[:LOST] == all_of_them[:LOST]
    assert went_on[LOST:-1] == all_of_them[LOST + 1 :]
