"""An optimizer that somebody made around another one, past torch's own making, is kept and restored as any."""

import pytest
import torch
from torch import nn

from builders_trainer import Training, given, state_digest
from checkpointheal.errors import Misuse
from checkpointheal.manifest import describe
from checkpointheal.trainer.apply import apply
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


class Told(torch.optim.SGD):
    """It tells its state by name, as one that is made around several others does."""

    def state_dict(self):
        told = {f"rate.{at}": group["lr"] for at, group in enumerate(self.param_groups)}
        return told | {f"momentum.{at}": each["momentum_buffer"] for at, each in enumerate(self.state.values())}

    def load_state_dict(self, state):
        for at, group in enumerate(self.param_groups):
            group["lr"] = state[f"rate.{at}"]
        for at, each in enumerate(self.state.values()):
            each["momentum_buffer"].copy_(state[f"momentum.{at}"])


def test_one_that_tells_its_state_by_name_is_restored_by_its_own_loading():
    def trained(rate, updates):
        model = nn.Linear(2, 1)
        optimizer = Told(model.parameters(), lr=rate, momentum=0.9)
        for _ in range(updates):
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
        return optimizer

    kept, fresh = trained(0.1, 2), trained(0.2, 1)
    generation, held = given(optimizer=kept), describe(declare({"optimizer": kept}, {}).replicated_state())
    assert apply(declare({"optimizer": fresh}, {}), generation) == state_digest(held)
    assert fresh.param_groups[0]["lr"] == 0.1


class Sharp(torch.optim.SGD):
    """It puts each weight back to where it was as SAM does: from then on that is what its state holds."""

    @torch.no_grad()
    def step(self, closure):
        for group in self.param_groups:
            for each in group["params"]:
                self.state[each]["old"] = each.data.clone()
        with torch.enable_grad():
            closure()
        for group in self.param_groups:
            for each in group["params"]:
                each.data = self.state[each]["old"]
        super().step()


def test_a_weight_that_lies_in_the_state_of_its_optimizer_lies_there_again():
    def trained(updates):
        torch.manual_seed(updates)
        model = nn.Linear(2, 1)
        optimizer = Sharp(model.parameters(), lr=0.1)
        for _ in range(updates):
            optimizer.step(lambda: model(torch.ones(1, 2)).square().sum().backward())
        return {"model": model, "optimizer": optimizer}

    kept, fresh = trained(2), trained(0)
    generation, held = given(**kept), describe(declare(kept, {}).replicated_state())
    assert apply(declare(fresh, {}), generation) == state_digest(held)
    weight = fresh["model"].weight
    assert fresh["optimizer"].state[weight]["old"].data_ptr() == weight.data_ptr()
