"""What a survivor keeps in its own process: its last two commits, and how it goes back to one.

Two, because a rank may have finished the step in which another was lost. Stands for the arena. Knows no group.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.distributed.tensor import DTensor

KEPT = 2


@dataclass(frozen=True)
class Generation:
    """One step: tensors that any peer holds too, and the random stream that nobody else has."""

    replicated: list[torch.Tensor]
    private: torch.Tensor


class Kept:
    """The live tensors of one trainer, and its copies of them by step."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        _materialise(optimizer)
        moments = [each[key] for each in optimizer.state.values() for key in sorted(each)]
        self.live = [_local(tensor.detach()) for tensor in [*model.parameters(), *model.buffers(), *moments]]
        self._optimizer = optimizer
        self._generations: dict[int, Generation] = {}

    @property
    def steps(self) -> list[int]:
        """What this trainer can go back to."""
        return sorted(self._generations)

    def commit(self, step: int) -> None:
        """Copy the live tensors as those of `step`."""
        copies = [tensor.clone() for tensor in self.live]
        self._generations[step] = Generation(copies, torch.get_rng_state())
        for old in self.steps[:-KEPT]:
            del self._generations[old]

    def roll_back(self, step: int) -> None:
        """Make the live tensors and the stream those of `step` again; gradients and later commits go."""
        kept = self._generations[step]
        self._optimizer.zero_grad()
        for live, copy in zip(self.live, kept.replicated, strict=True):
            live.copy_(copy)
        torch.set_rng_state(kept.private)
        for later in [each for each in self.steps if each > step]:
            del self._generations[later]

    def private_of(self, step: int) -> torch.Tensor:
        """The random stream at that step: what buddies keep of it."""
        return self._generations[step].private


def _materialise(optimizer: torch.optim.Optimizer) -> None:
    """Give a fresh optimizer its moments, as zeros: a step over nothing, taken back."""
    for group in optimizer.param_groups:
        rate, group["lr"] = group["lr"], 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        group["lr"] = rate
    for each in optimizer.state.values():
        each["step"].zero_()
    optimizer.zero_grad()


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
