"""A heal whose arena is a variable of the test: what one life committed last is what the next one is given."""

import copy
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from checkpointheal.manifest import describe, pack, unpack_apart
from checkpointheal.manifest.tree import Leaves
from checkpointheal.trainer.later import Later
from checkpointheal.trainer.parts import Parts, declare


def unpacked(blob: bytes, beside: Leaves | None = None) -> dict[str, Any]:
    """A private part again, of which nothing is lost."""
    state, lost = unpack_apart(blob, "parts", beside or Leaves())
    assert not lost
    return state


class Lost(Exception):
    """Here the process would be gone."""


@dataclass
class Memory:
    """What is left when a process is gone. `told`: what the lives said, in order."""

    step: int = 0
    replicated: dict[str, Any] = field(default_factory=dict)
    private: bytes = b""
    told: list[str] = field(default_factory=list)

    def attach(
        self, *, private: Mapping[str, Any] | None = None, private_limit: int = 1 << 20, **replicated: Any
    ) -> "Remembered":
        """In the place of `checkpointheal.attach`."""
        return Remembered(self, declare(replicated, private or {}), private_limit)


@dataclass
class Remembered:
    """In the place of a `Heal`: parts are read and put back as it does that."""

    memory: Memory
    parts: Parts
    private_limit: int

    def restore(self, budget: float | None = None) -> int | None:
        """Everything, where there is anything."""
        if not self.memory.step:
            return None
        for name, part in self.parts.replicated.items():
            held = copy.deepcopy(self.memory.replicated[name])
            part.make_room(held) if isinstance(part, Later) else part.load_state_dict(held)
        live = describe(self.parts.private_state()).leaves
        self.parts.put_back_private(unpacked(self.memory.private, live))
        return self.memory.step

    def agree(self) -> None:
        """Nobody else is there."""

    def commit(self, step: int, *, loss: Any = None, grad_norm: Any = None) -> bool:
        """Once for each step."""
        if step <= self.memory.step:
            return False
        private = pack(self.parts.private_state())
        assert len(private) <= self.private_limit
        self.memory.replicated = copy.deepcopy(self.parts.replicated_state())
        self.memory.step, self.memory.private = step, private
        self.memory.told.append(f"commit {step}")
        return True

    def done(self) -> None:
        """It is over."""
        self.memory.told.append("done")


def live(life: Callable[[], Any], lives: int = 2) -> Any:
    """What the last of so many lives returned: every other one is lost. Each begins with the same streams."""
    for number in range(lives):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        try:
            ended = life()
        except Lost:
            assert number < lives - 1
        else:
            assert number == lives - 1, "nothing was lost"
    return ended
