"""A fresh optimizer gets its state tensors without anything else changing."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import optimizer as of_all

from checkpointheal.trainer.materialise import materialise

OPTIMIZERS = {
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
    "AdamW amsgrad": lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True),
    "AdamW tensor rate": lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.1), capturable=False, foreach=False),
    "Adam fused": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    "SGD momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.5),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
}

ARRIVING = {0: {"exp_avg": torch.zeros(2, 3)}, 1: {"exp_avg": torch.zeros(2)}}


def state_shapes(optimizer):
    return {
        index: {name: tuple(getattr(value, "shape", ())) for name, value in state.items()}
        for index, state in optimizer.state_dict()["state"].items()
    }


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_state_has_the_form_that_a_first_step_would_give(make):
    stepped, fresh = nn.Linear(3, 2), nn.Linear(3, 2)
    real, target = make(stepped.parameters()), make(fresh.parameters())
    stepped(torch.ones(1, 3)).sum().backward()
    real.step()
    materialise(target, real.state_dict()["state"])
    assert state_shapes(target) == state_shapes(real)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_weights_gradients_and_rates_stay(make):
    model = nn.Linear(3, 2)
    optimizer = make(model.parameters())
    model.bias.grad = torch.ones(2)
    weights, rate = model.weight.clone(), optimizer.param_groups[0]["lr"]
    materialise(optimizer, ARRIVING)
    assert torch.equal(model.weight, weights)
    assert model.weight.grad is None
    assert torch.equal(model.bias.grad, torch.ones(2))
    assert optimizer.param_groups[0]["lr"] is rate


def test_only_the_named_parameters_get_a_state():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    materialise(optimizer, {1: ARRIVING[1]})
    assert set(optimizer.state_dict()["state"]) == {1}


def a_step(model, optimizer, given):
    model(given).sum().backward()
    optimizer.step()
    return optimizer.state_dict()["state"]


def test_a_state_that_lies_otherwise_than_its_weight_is_made_as_it_lies():
    """A momentum is a copy of the first gradient, which of a convolution over one pixel may lie as its input does."""
    trained, fresh = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
    trained.weight.grad = torch.empty_strided((4, 4, 1, 1), strides := (4, 1, 4, 4)).fill_(1.0)
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1, momentum=0.9)
    optimizer.step()
    arriving = optimizer.state_dict()["state"]
    assert arriving[0]["momentum_buffer"].stride() == strides != trained.weight.stride()
    target = torch.optim.SGD(fresh.parameters(), lr=0.1, momentum=0.9)
    materialise(target, arriving)
    assert target.state[fresh.weight]["momentum_buffer"].stride() == strides


def test_an_optimizer_that_takes_sparse_gradients_alone_gets_its_state():
    trained, fresh = (nn.Embedding(4, 2, sparse=True) for _ in range(2))
    arriving = a_step(trained, torch.optim.SparseAdam(trained.parameters()), torch.tensor([1, 3]))
    target = torch.optim.SparseAdam(fresh.parameters())
    materialise(target, arriving)
    assert set(target.state[fresh.weight]) == set(arriving[0])
    assert target.state[fresh.weight]["exp_avg"].shape == arriving[0]["exp_avg"].shape


def test_what_was_made_since_is_taken_away():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    a_step(model, optimizer, torch.ones(1, 3))
    materialise(optimizer, {1: ARRIVING[1]})
    assert set(optimizer.state_dict()["state"]) == {1}
    materialise(optimizer, {})
    assert optimizer.state_dict()["state"] == {}


def test_a_layer_that_began_to_train_later_has_its_state_behind_those_that_trained_before():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    materialise(optimizer, {1: ARRIVING[1], 0: ARRIVING[0]})
    assert list(optimizer.state_dict()["state"]) == [1, 0]
    materialise(optimizer, ARRIVING)
    assert list(optimizer.state_dict()["state"]) == [0, 1]


def test_a_state_that_exists_is_left_alone():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    before = optimizer.state[model.weight]["exp_avg"].clone()
    materialise(optimizer, ARRIVING)
    assert torch.equal(optimizer.state[model.weight]["exp_avg"], before)
    assert optimizer.state[model.weight]["step"] == 1


HOOKED = {
    "before this optimizer's": lambda o, hook: o.register_step_pre_hook(hook),
    "after this optimizer's": lambda o, hook: o.register_step_post_hook(hook),
    "before each optimizer's": lambda _, hook: of_all.register_optimizer_step_pre_hook(hook),
    "after each optimizer's": lambda _, hook: of_all.register_optimizer_step_post_hook(hook),
}


@pytest.fixture(params=HOOKED.values(), ids=HOOKED)
def hooked(request):
    """An optimizer, one of whose hooks counts its calls, and how to take that hook off."""
    calls, optimizer = [], torch.optim.AdamW(nn.Linear(3, 2).parameters())
    handle = request.param(optimizer, lambda *_: calls.append(1))
    yield optimizer, calls, handle.remove
    handle.remove()


def test_no_hook_hears_of_a_step_that_only_this_rank_makes_and_every_one_of_the_next(hooked):
    optimizer, calls, take_off = hooked
    materialise(optimizer, ARRIVING)
    assert set(optimizer.state_dict()["state"]) == {0, 1}
    assert calls == []
    optimizer.step()
    assert calls == [1]
    take_off()
    optimizer.step()
    assert calls == [1]


def test_hooks_come_back_where_that_step_fails(hooked):
    optimizer, calls, _ = hooked
    betas = optimizer.param_groups[0].pop("betas")
    materialise(optimizer, ARRIVING)
    assert not any(optimizer.state.values())
    optimizer.param_groups[0]["betas"] = betas
    assert calls == []
    optimizer.step()
    assert calls == [1]


class Failing(torch.optim.SGD):
    """Raises at its step."""

    def __init__(self, error) -> None:
        super().__init__(nn.Linear(3, 2).parameters(), lr=0.1)
        self._error = error

    def step(self):
        raise self._error


@pytest.mark.parametrize(
    "kind",
    [getattr(torch, each) for each in ("OutOfMemoryError", "AcceleratorError") if hasattr(torch, each)] + [MemoryError],
)
def test_a_machine_that_fails_is_no_optimizer_that_takes_no_gradients(kind):
    error = kind("CUDA has no more of it")
    with pytest.raises(type(error), match="no more of it"):
        materialise(Failing(error), ARRIVING)


@pytest.mark.parametrize(
    "error",
    [
        TypeError("closure"),
        RuntimeError("does not support dense gradients"),
        AssertionError("requires closure"),
        AttributeError("the loop sets it"),
        KeyError("of its own"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_an_optimizer_does_not_take_is_left_to_the_comparison(error):
    optimizer = Failing(error)
    materialise(optimizer, ARRIVING)
    assert not any(optimizer.state.values())


class Noisy(torch.optim.SGD):
    """Draws, and moves weights by no rate."""

    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.data.add_(torch.rand_like(parameter) + random.random() + np.random.rand())
        super().step()
        raise AssertionError("in the middle")


def test_streams_and_weights_that_no_restore_overwrites_stay_whatever_that_step_does():
    model = nn.Linear(3, 2)
    optimizer = Noisy(model.parameters(), lr=0.1, momentum=0.9)
    bias, drawn = model.bias.clone(), [torch.get_rng_state(), random.getstate(), np.random.get_state()]
    materialise(optimizer, {1: {"momentum_buffer": torch.zeros(2)}}, [model.bias])
    now = [torch.get_rng_state(), random.getstate(), np.random.get_state()]
    assert torch.equal(model.bias, bias)
    assert torch.equal(now[0], drawn[0])
    assert now[1] == drawn[1]
    assert all(np.array_equal(*pair) for pair in zip(now[2], drawn[2], strict=True))


def test_what_is_kept_under_no_parameter_is_left_to_the_comparison():
    optimizer = torch.optim.AdamW(nn.Linear(3, 2).parameters())
    materialise(optimizer, {**ARRIVING, "global": {"n": 1}, 7: {"n": 2}})
    assert set(optimizer.state_dict()["state"]) == {0, 1}


class Bare(torch.optim.SGD):
    """Keeps a tensor for each parameter, and no mapping."""

    def step(self):
        for parameter in self.param_groups[0]["params"]:
            if parameter.grad is not None:
                self.state[parameter] = parameter.grad.clone()


def test_a_state_that_is_a_tensor_and_no_mapping_is_made_as_wide_as_it_arrives():
    model = nn.Linear(3, 2)
    optimizer = Bare(model.parameters(), lr=0.1)
    materialise(optimizer, {0: torch.zeros(2, 3, dtype=torch.float64)})
    assert {key: each.dtype for key, each in optimizer.state_dict()["state"].items()} == {0: torch.float64}
