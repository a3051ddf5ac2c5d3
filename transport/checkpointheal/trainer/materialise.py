"""How does an optimizer get just the state tensors that will arrive, though it would only make them in its first step?

It is stepped once with zero gradients and a learning rate of zero, for exactly the parameters whose state will arrive.
Whatever that step changes is overwritten by the restore that follows; hooks, which could change more, do not run. What
it has made since is taken away: a layer that was still frozen then. Must not know the arena.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim import optimizer as of_all

_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
_HOOKS_OF_ALL = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")
_DEVICE_FAILED = tuple(vars(torch)[name] for name in ("OutOfMemoryError", "AcceleratorError") if hasattr(torch, name))
"""RuntimeErrors that say nothing of the optimizer; an older torch has not both."""


def materialise(optimizer: Optimizer, offered: Mapping[int, Mapping[str, Any]]) -> None:
    """Make the state that will arrive, and no other; `offered` is keyed as `state_dict()["state"]` is."""
    parameters = list(_parameters(optimizer))
    for index, parameter in enumerate(parameters):
        if not offered.get(index):
            optimizer.state.pop(parameter, None)
    missing = [p for i, p in enumerate(parameters) if offered.get(i) and not optimizer.state.get(p)]
    if missing:
        with _kept_gradients(optimizer), _learning_rate_zero(optimizer), _no_hooks(optimizer):
            for gradient in (torch.zeros_like, _empty):
                for parameter in missing:
                    parameter.grad = gradient(parameter)
                # One that takes neither, or must be given a closure: what it lacks is named by the comparison to come.
                if _steps(optimizer):
                    break
    for index, state in offered.items():
        if index < len(parameters):
            _widen(optimizer.state[parameters[index]], state)
    _order(optimizer, [parameters[key] if key in range(len(parameters)) else key for key in offered])


def _order(optimizer: Optimizer, owners: Iterable[Any]) -> None:
    """A state dict tells them in the order in which they were made: a layer that was frozen at first comes last."""
    for owner in owners:
        if owner in optimizer.state:
            optimizer.state[owner] = optimizer.state.pop(owner)


def _steps(optimizer: Optimizer) -> bool:
    try:
        optimizer.step()
    except (TypeError, RuntimeError) as error:
        if isinstance(error, _DEVICE_FAILED):
            raise
        return False
    return True


def _widen(held: dict[str, Any], offered: Mapping[str, Any]) -> None:
    """Somebody keeps this state otherwise than the optimizer makes it: fp32 moments of bf16 weights.

    Or as a copy of a gradient that lay otherwise than its weight, as behind a convolution of one channel.
    """
    for name, given in offered.items():
        made = held.get(name)
        if not isinstance(given, torch.Tensor) or not isinstance(made, torch.Tensor):
            continue
        if type(made) is torch.Tensor and made.shape == given.shape and made.stride() != given.stride():
            strides = given.stride()
            held[name] = torch.empty_strided(made.shape, strides, dtype=given.dtype, device=made.device)
        elif made.dtype != given.dtype:
            held[name] = made.to(given.dtype)


def _empty(parameter: torch.Tensor) -> torch.Tensor:
    """A gradient of nothing, for an optimizer of embeddings that takes no dense one."""
    nowhere = torch.empty((1, 0), dtype=torch.long, device=parameter.device)
    nothing = parameter.new_empty((0, *parameter.shape[1:]))
    return torch.sparse_coo_tensor(nowhere, nothing, parameter.shape, device=parameter.device, check_invariants=True)


def _parameters(optimizer: Optimizer) -> Iterator[torch.Tensor]:
    for group in optimizer.param_groups:
        yield from group["params"]


@contextmanager
def _kept_gradients(optimizer: Optimizer) -> Iterator[None]:
    kept = [(p, p.grad) for p in _parameters(optimizer)]
    for parameter, _ in kept:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in kept:
            parameter.grad = gradient


@contextmanager
def _learning_rate_zero(optimizer: Optimizer) -> Iterator[None]:
    kept = [group.get("lr") for group in optimizer.param_groups]
    for group, rate in zip(optimizer.param_groups, kept, strict=True):
        if rate is not None:
            group["lr"] = torch.zeros_like(rate) if isinstance(rate, torch.Tensor) else 0.0
    try:
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, kept, strict=True):
            if rate is not None:
                group["lr"] = rate


@contextmanager
def _no_hooks(optimizer: Optimizer) -> Iterator[None]:
    """Only this rank makes that step: an average kept in a hook would be one update ahead, a collective would hang."""
    hooked = [(vars(optimizer), name) for name in _HOOKS] + [(vars(of_all), name) for name in _HOOKS_OF_ALL]
    kept = [(holder, name, holder[name]) for holder, name in hooked if name in holder]
    for holder, name, _ in kept:
        holder[name] = OrderedDict()
    try:
        yield
    finally:
        for holder, name, hooks in kept:
            holder[name] = hooks
