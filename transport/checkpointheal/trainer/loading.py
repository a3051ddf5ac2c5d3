"""How does a part hear that it holds another state now, and take of it what is no tensor?

By its own loading, as whoever loads a checkpoint would call it, where it does more than to copy; where torch's own
casts, past it. Must not know where the state came from.
"""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, MutableMapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from checkpointheal.trainer.materialise import place_of
from checkpointheal.trainer.parts import Stateful, parameters_of
from checkpointheal.trainer.within import keeper_in, within

GROUPED = frozenset(("param_groups", "state"))
"""Keys of torch's own `Optimizer.state_dict()`. One made around several may tell all of theirs by name."""
_OWN_LOADING = ("_load_from_state_dict", "set_extra_state")


def load(part: Stateful, state: Mapping[str, Any]) -> None:
    """By its own loading. A module is given what it tells besides, its rank's own buffers: a hook may look there."""
    if not isinstance(part, nn.Module):
        part.load_state_dict(state)
        return
    whole = as_its_own(part, {**part.state_dict(), **state})
    if _takes_strict(part):
        part.load_state_dict(whole, strict=False)  # it may leave out what is frozen
    else:
        part.load_state_dict(whole)


def does_more_than_copy(module: nn.Module) -> bool:
    """Whether somebody's own code runs where it is loaded: hooks, or a loading that is not torch's."""
    return not _is_torchs(module.load_state_dict) or any(map(_has_own_loading, module.modules()))


def keeper_of(optimizer: Optimizer, state: Mapping[str, Any]) -> Optimizer | None:
    """Whoever keeps what such a state tells, where it is told as torch's own do."""
    return keeper_in(optimizer) if state.keys() >= GROUPED else None


def tell_loaded(optimizer: Optimizer) -> None:
    """Call whoever hangs on its loading, once all of it is there. Those inside of it are loaded with it."""
    for each in within(optimizer):
        for hook in list(getattr(each, "_optimizer_load_state_dict_post_hooks", {}).values()):
            hook(each)


def as_its_own(module: nn.Module, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the versions of its modules: one that sees none may take a state for an old one, and change what is in it.

    They do not cross, but a state of the live form is of the live versions.
    """
    own, versions = OrderedDict(state), getattr(module.state_dict(), "_metadata", OrderedDict())
    own._metadata = versions  # type: ignore[attr-defined]  # noqa: SLF001 - torch's own way
    return own


def load_optimizer_values(optimizer: Optimizer, filled: Mapping[str, Any]) -> None:
    """What is no tensor, of a state dict that has the live tensors in it.

    Past `Optimizer.load_state_dict`, which casts the state to each parameter's dtype. A tensor inside of a list is a
    part of its value: a copy there would lie on another device than the one before.
    """
    for group, given in zip(optimizer.param_groups, filled["param_groups"], strict=True):
        group.update(_values_of(given, but="params"))
    parameters = parameters_of(optimizer)
    for key, given in filled["state"].items():
        place = place_of(key, parameters)
        held = optimizer.state.get(place)
        if isinstance(held, MutableMapping) and isinstance(given, Mapping):
            held.update(_values_of(given))
        elif place in optimizer.state:  # of one that keeps it elsewhere, its own loading is asked next
            optimizer.state[place] = given


def _values_of(filled: Mapping[str, Any], but: str = "") -> dict[str, Any]:
    return {k: v for k, v in filled.items() if k != but and not isinstance(v, torch.Tensor)}


def _takes_strict(module: nn.Module) -> bool:
    try:
        inspect.signature(module.load_state_dict).bind({}, strict=False)
    except (TypeError, ValueError):
        return False
    return True


def _has_own_loading(module: nn.Module) -> bool:
    hooks = (*module._load_state_dict_pre_hooks.values(), *module._load_state_dict_post_hooks.values())  # noqa: SLF001 - torch has no other word for them
    return not all(map(_is_torchs, (*hooks, *(getattr(module, name) for name in _OWN_LOADING))))


def _is_torchs(called: Callable[..., Any]) -> bool:
    """Also of a hook that is wrapped, or has arguments: FSDP2 hangs one of its own on all that it cuts."""
    inner = getattr(called, "hook", called)
    inner = inner.func if isinstance(inner, partial) else inner
    return str(inner.__module__).partition(".")[0] == "torch"
