"""How does an optimizer get just the state tensors that will arrive, though it would only make them in its first step?

It is stepped once with zero gradients and a learning rate of zero, for exactly the parameters whose state will arrive.
Whatever that step changes is overwritten by the restore that follows, or put back here; hooks, which could change more,
do not run. What it has made since is taken away: a layer that was still frozen then. Must not know the arena.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim import optimizer as of_all

from checkpointheal.trainer import streams
from checkpointheal.trainer.parts import parameters_of
from checkpointheal.trainer.within import within

_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
_HOOKS_OF_ALL = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")
_OF_DEVICES = tuple(vars(torch)[name] for name in ("OutOfMemoryError", "AcceleratorError") if hasattr(torch, name))
"""An older torch has not both."""
_MACHINE_FAILED = (MemoryError, *_OF_DEVICES)
"""Errors that say nothing of the optimizer."""


def materialise(optimizer: Optimizer, offered: Mapping[Any, Any], unwritten: Sequence[torch.Tensor] = ()) -> None:
    """Make the state that will arrive, and no other; `offered` is keyed as `state_dict()["state"]` is.

    What stands there under a key that is no parameter's is made by that step, or by nobody here. `unwritten`:
    parameters that no restore overwrites afterwards.
    """
    parameters = parameters_of(optimizer)
    arriving = {place: state for key, state in offered.items() if (place := place_of(key, parameters)) is not key}
    for parameter in parameters:
        if is_nothing(arriving.get(parameter)):
            optimizer.state.pop(parameter, None)
    missing = [p for p, state in arriving.items() if not is_nothing(state) and is_nothing(optimizer.state.get(p))]
    if missing:
        with _nothing_but_state_changes(optimizer, unwritten):
            for gradient in (torch.zeros_like, _empty):
                for parameter in missing:
                    parameter.grad = gradient(parameter)
                # One that takes neither, or must be given a closure: what it lacks is named by the comparison to come.
                if _steps(optimizer):
                    break
    for parameter, state in arriving.items():
        optimizer.state[parameter] = _widened(optimizer.state[parameter], state)
    _order(optimizer, [place_of(key, parameters) for key in offered])


def widen(optimizer: Optimizer, offered: Mapping[Any, Any]) -> None:
    """Make what its own loading has cast as it is offered; what it does not hold is made by nobody here."""
    parameters = parameters_of(optimizer)
    for key, state in offered.items():
        if isinstance(place := place_of(key, parameters), torch.Tensor) and place in optimizer.state:
            optimizer.state[place] = _widened(optimizer.state[place], state)


def _order(optimizer: Optimizer, owners: Iterable[Any]) -> None:
    """A state dict tells them in the order in which they were made: a layer that was frozen at first comes last."""
    for owner in owners:
        if owner in optimizer.state:
            optimizer.state[owner] = optimizer.state.pop(owner)


def place_of(key: Any, parameters: Sequence[torch.Tensor]) -> Any:
    """Under what an optimizer's `state` has it: a parameter, for its number; torch leaves any other key as it is."""
    return parameters[key] if type(key) is int and 0 <= key < len(parameters) else key


def is_nothing(state: object) -> bool:
    """Whether a state tells nothing at all."""
    return state is None or (isinstance(state, Mapping) and not state)


def _steps(optimizer: Optimizer) -> bool:
    try:
        optimizer.step()
    except _MACHINE_FAILED:
        raise
    except Exception:  # somebody's own code, without what its loop gives it: nobody can say what it raises then
        return False
    return True


def _widened(held: Any, offered: Any) -> Any:
    """Somebody keeps this state otherwise than the optimizer makes it: fp32 moments of bf16 weights.

    Or as a copy of a gradient that lay otherwise than its weight, as behind a convolution of one channel.
    """
    if not isinstance(held, MutableMapping) or not isinstance(offered, Mapping):
        return _as_offered(held, offered)
    for name in offered.keys() & held.keys():
        held[name] = _as_offered(held[name], offered[name])
    return held


def _as_offered(made: Any, given: Any) -> Any:
    if not isinstance(given, torch.Tensor) or not isinstance(made, torch.Tensor):
        return made
    if type(made) is torch.Tensor and made.shape == given.shape and made.stride() != given.stride():
        return torch.empty_strided(made.shape, given.stride(), dtype=given.dtype, device=made.device)
    return made if made.dtype == given.dtype else made.to(given.dtype)


def _empty(parameter: torch.Tensor) -> torch.Tensor:
    """A gradient of nothing, for an optimizer of embeddings that takes no dense one."""
    nowhere = torch.empty((1, 0), dtype=torch.long, device=parameter.device)
    nothing = parameter.new_empty((0, *parameter.shape[1:]))
    return torch.sparse_coo_tensor(nowhere, nothing, parameter.shape, device=parameter.device, check_invariants=True)


@contextmanager
def _nothing_but_state_changes(optimizer: Optimizer, unwritten: Sequence[torch.Tensor]) -> Iterator[None]:
    with (
        _kept_streams(),
        _kept_weights(unwritten),
        _kept_gradients(optimizer),
        _learning_rate_zero(optimizer),
        _no_hooks(optimizer),
    ):
        yield


@contextmanager
def _kept_streams() -> Iterator[None]:
    """A rank that begins its own, or whose were lost, draws as one that never made that step."""
    kept = streams.capture()
    try:
        yield
    finally:
        streams.put_back(kept)


@contextmanager
def _kept_weights(parameters: Sequence[torch.Tensor]) -> Iterator[None]:
    """In the host's memory: a device's may be full."""
    kept = [parameter.detach().to("cpu", copy=True) for parameter in parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, values in zip(parameters, kept, strict=True):
                parameter.copy_(values)


@contextmanager
def _kept_gradients(optimizer: Optimizer) -> Iterator[None]:
    kept = [(p, p.grad) for p in parameters_of(optimizer)]
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
    hooked = [(vars(each), name) for each in within(optimizer) for name in _HOOKS]
    hooked += [(vars(of_all), name) for name in _HOOKS_OF_ALL]
    kept = [(holder, name, holder[name]) for holder, name in hooked if name in holder]
    for holder, name, _ in kept:
        holder[name] = OrderedDict()
    try:
        yield
    finally:
        for holder, name, hooks in kept:
            holder[name] = hooks
