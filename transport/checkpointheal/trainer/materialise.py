"""How does a fresh optimizer get the state tensors that it would only make in its first step?

It is stepped once with zero gradients and a learning rate of zero, for exactly the parameters whose state will arrive.
Whatever that step changes is overwritten by the restore that follows. Must not know the arena.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch.optim import Optimizer


def materialise(optimizer: Optimizer, indices: Collection[int]) -> None:
    """Make the state of the parameters with these indices (as `state_dict()` numbers them) where it does not exist."""
    missing = [p for i, p in enumerate(_parameters(optimizer)) if i in indices and not optimizer.state.get(p)]
    if missing:
        with _kept_gradients(optimizer), _learning_rate_zero(optimizer):
            for parameter in missing:
                parameter.grad = torch.zeros_like(parameter)
            optimizer.step()


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
