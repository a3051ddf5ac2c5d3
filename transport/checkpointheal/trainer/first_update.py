"""What is to be seen when the first update after a restore is made?

Whether a commit under the step that was given back comes behind it; and whether what trains now is what trained when
that step was kept, which no state dict tells. Must not know the arena.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch.optim import Optimizer

from checkpointheal.trainer.parts import Parts, parameters_of

log = logging.getLogger("checkpointheal")


class _Handle(Protocol):
    def remove(self) -> None:
        """Take the hook away."""


class FirstUpdate:
    """Of one trainer, after each of its restores."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._hooks: list[_Handle] = []
        self._trained: dict[str, Any] = {}
        self._step = 0
        self._is_made = self._has_warned = False

    def expect(self, step: int, trained: Mapping[str, Any]) -> None:
        """The state of `step` was given back; `trained`: as `Parts.trained` was then, as far as it is known."""
        self.forget()
        self._step, self._trained = step, dict(trained)
        for each in self._parts.optimizers.values():
            with contextlib.suppress(AttributeError):  # one around another may not be set up as torch's are
                self._hooks.append(each.register_step_post_hook(self._made))

    def forget(self) -> None:
        """Another step is kept: nothing is to be seen any more."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._is_made = False

    def is_behind(self, step: int) -> bool:
        """Whether a commit of this step would come behind the update of the state that was given back."""
        return self._is_made and step == self._step

    def _made(self, optimizer: Optimizer, *_: object) -> None:
        self._is_made = True
        for name, each in self._parts.optimizers.items():
            if each is optimizer and (then := self._trained.pop(name, None)) is not None:
                self._compare(name, optimizer, then)

    def _compare(self, name: str, optimizer: Optimizer, then: object) -> None:
        """At its own update: who trains two models by turns freezes each in the other's.

        For the same reason nothing is said where all of them were frozen then.
        """
        updated = parameters_of(optimizer)
        if not isinstance(then, bytes) or len(then) != len(updated) or self._has_warned:
            return
        pairs = list(zip(then, updated, strict=True))
        frozen = [parameter for did, parameter in pairs if did and not parameter.requires_grad]
        freed = [parameter for did, parameter in pairs if not did and parameter.requires_grad] if any(then) else []
        if frozen or freed:
            self._has_warned = True
            self._warn(self._names(name, frozen or freed), freezes=bool(frozen))

    def _warn(self, names: list[str], *, freezes: bool) -> None:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        now, then = ("frozen", "trained") if freezes else ("trained", "frozen")
        log.warning(
            "checkpointheal: %s%s: %s now, and %s when step %d was kept: restore() leaves requires_grad as it is, so "
            "freeze and unfreeze by the step that it returned, before the loop, unless this very step does",
            names[0],
            more,
            now,
            then,
            self._step,
        )

    def _names(self, optimizer: str, parameters: list[torch.Tensor]) -> list[str]:
        known = dict(self._named())
        return [known.get(id(each), f"a parameter of {optimizer}") for each in parameters]

    def _named(self) -> Iterator[tuple[int, str]]:
        for part, module in self._parts.modules.items():
            for name, parameter in module.named_parameters():
                yield id(parameter), f"{part}.{name}"
