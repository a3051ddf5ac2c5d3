"""An optimizer that somebody made around another one, past torch's own making, is kept and restored as any."""

import pytest
import torch
from torch import nn

from builders_trainer import Training, given
from checkpointheal.errors import Misuse
from checkpointheal.manifest import describe
from checkpointheal.trainer.apply import apply, state_digest
from checkpointheal.trainer.first_update import FirstUpdate
from checkpointheal.trainer.parts import declare


class Around(torch.optim.Optimizer):
    """As several libraries do it."""

    def __init__(self, inner) -> None:
        self.inner = inner

    def state_dict(self):
        return self.inner.state_dict()

    def load_state_dict(self, state):
        self.inner.load_state_dict(state)


def test_one_that_is_not_set_up_as_torchs_own_is_not_watched_and_hinders_nothing():
    model = nn.Linear(1, 1)
    parts = declare({"optimizer": Around(torch.optim.SGD(model.parameters(), lr=0.1))}, {})
    first = FirstUpdate(parts)
    first.expect(2, parts.private_state()["trained"])
    assert not first.is_behind(2)
    assert parts.trained == {"optimizer": b""}


def around_one_that_made(steps):
    model = nn.Linear(2, 1)
    optimizer = Around(inner := torch.optim.SGD(model.parameters(), lr=0.1 * (steps + 1), momentum=0.9))
    for _ in range(steps):
        model(torch.ones(1, 2)).sum().backward()
        inner.step()
    return optimizer


def test_one_that_is_not_set_up_as_torchs_own_is_restored_by_its_own_loading():
    kept = around_one_that_made(2)
    generation, held = given(optimizer=kept), describe(declare({"optimizer": kept}, {}).replicated_state())
    for steps in (0, 3):
        target = declare({"optimizer": around_one_that_made(steps)}, {})
        assert apply(target, generation) == state_digest(held)


class Wrapped(Training):
    """A training whose optimizer is one around it."""

    def parts(self):
        return {"model": self.model, "optimizer": Around(self.optimizer)}


@pytest.mark.parametrize("option", ["background", "on_demand"])
def test_where_an_update_must_be_seen_to_begin_it_is_refused_by_name_before_the_arena_is_held(attach, agent, option):
    with pytest.raises(Misuse, match=rf"optimizer is a Around.*attach\({option}=True\).*give the optimizer inside"):
        attach(Wrapped(), **{option: True})
    assert attach(Training(), **{option: True}) is not None


@pytest.mark.usefixtures("world_of_one")
def test_epochs_refuse_it_by_name(attach, agent):
    with pytest.raises(Misuse, match=r"optimizer is a Around.*heal\.epochs\(\).*give the optimizer inside"):
        next(attach(Wrapped()).epochs())


class OneHook(torch.optim.SGD):
    """Takes no second one."""

    left = 1

    def register_step_pre_hook(self, hook):
        if not self.left:
            raise RuntimeError("one hook only")
        self.left -= 1
        return super().register_step_pre_hook(hook)


def test_an_attach_that_an_optimizer_fails_leaves_the_arena_to_the_next_one(attach, agent):
    failing = Training()
    failing.optimizer = OneHook(failing.model.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match="one hook only"):
        attach(failing, background=True)
    assert attach(Training(), background=True).restore() is None
