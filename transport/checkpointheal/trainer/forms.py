"""Has a part another form than it was made with, so that none that is newly made could take its state?

Modules and optimizers alone are asked, which are filled where they lie: whatever else changes its form gets it back by
its own loading, unless it holds a class that came since. Must not know when a state is kept.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from checkpointheal.contract.layout import Schema
from checkpointheal.manifest import owner_of
from checkpointheal.manifest.dtypes import name_of
from checkpointheal.manifest.wholes import is_leaf, local_of
from checkpointheal.trainer.new_classes import NewClasses, classes_in
from checkpointheal.trainer.parts import Parts, groups_of, is_scheduled

_Form = tuple[Any, ...] | None


class _Made(NamedTuple):
    """What is newly made: its tensors by their paths, its keys that are no tensor, the groups of its optimizers."""

    tensors: Mapping[str, _Form]
    others: frozenset[str]
    groups: Mapping[str, Any]


class Forms:
    """Of the parts of one trainer."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._made: _Made | None = None
        self.classes = NewClasses()

    def note(self) -> None:
        """Whoever takes this trainer's place is asked for a state when its parts are as these are now: once."""
        if self._made is None:
            found = dict(self._found())
            tensors = {path: each for path, each in found.items() if each != ()}
            self._made = _Made(tensors, frozenset(found.keys() - tensors.keys()), self._groups())
            self.classes.note(classes_in(self._parts.replicated_state))

    def changed(self, schema: Schema) -> str | None:
        """What has another form in a state of this schema: one of it, by its path. None: nothing."""
        if (made := self._made) is None:
            return None
        groups = self._groups()
        for name, each in made.groups.items():
            if groups[name] != each:
                return f"{name}.param_groups"
        held = dict(_tensors(schema, tuple(f"{name}." for name in self._parts.modules)))
        differ = (path for path in sorted(held.keys() | made.tensors.keys()) if _differs(path, held, made))
        return next(differ, None)

    def _found(self) -> Iterator[tuple[str, _Form]]:
        """The form of each tensor of the modules; () for what is something else, None for what has none yet."""
        for name, module in self._parts.modules.items():
            own = self._parts.buffers.get(name, {})
            for key, value in module.state_dict().items():
                if key not in own:
                    yield f"{name}.{key}", _form_of(value)

    def _groups(self) -> dict[str, Any]:
        return {name: _groups_of(optimizer) for name, optimizer in self._parts.optimizers.items()}


def _form_of(value: object) -> _Form:
    if not isinstance(value, torch.Tensor):
        return ()
    if is_lazy(value):
        return None
    if not is_leaf(value) or value.layout != torch.strided or value.is_nested:
        return ()
    local = local_of(value)
    return name_of(local.dtype), tuple(local.shape), tuple(local.stride())


def _groups_of(optimizer: Optimizer) -> list[tuple[int, bool]]:
    """How many parameters each has, and whether a schedule was made for it."""
    return [(len(group["params"]), is_scheduled(group)) for group in groups_of(optimizer)]


def _tensors(schema: Schema, beginnings: tuple[str, ...]) -> Iterator[tuple[str, _Form]]:
    columns = schema.tensors
    for path, number in zip(columns.paths, columns.forms, strict=True):
        if path.startswith(beginnings):
            form = schema.forms[number]
            yield path, (form.dtype, tuple(form.shape), tuple(form.stride))


def _differs(path: str, held: Mapping[str, _Form], made: _Made) -> bool:
    if path in held and path in made.tensors:
        return held[path] != made.tensors[path]
    return owner_of(path, made.others) is None
