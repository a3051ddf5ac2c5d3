"""What did the loop say of a step in numbers, and when may they be looked at?

A tensor on a device is not known before the device has computed it: it is copied there, without waiting, and read once
the state has been copied, which waited for the same. Must not know who is told.
"""

import math
from numbers import Real

import torch

from checkpointheal.contract.signals import Signals
from checkpointheal.manifest.wholes import is_dtensor

Number = float | torch.Tensor


class Told:
    """The numbers of one commit, by name. `odd`: those that are not one number, and are left out."""

    def __init__(self, **said: Number | None) -> None:
        given = {name: value for name, value in said.items() if value is not None}
        self.odd = tuple(name for name, value in given.items() if not _is_one(value))
        self._kept = {name: _kept(value) for name, value in given.items() if name not in self.odd}

    def read(self) -> Signals | None:
        """Waits for the device that a number lies on. None where nothing was said."""
        values = {name: float(value) for name, value in self._kept.items()}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        not_finite = [name for name in values if name not in finite]
        return Signals.model_validate({**finite, "not_finite": not_finite}) if values else None


def _is_one(value: object) -> bool:
    """A DTensor may be a part of one: to make it whole is a collective, which is not ours to start."""
    if isinstance(value, torch.Tensor):
        return value.numel() == 1 and not value.is_complex() and not is_dtensor(value)
    return isinstance(value, Real)


def _kept(value: Number) -> Number:
    if not isinstance(value, torch.Tensor):
        return value
    return float(value.detach()) if value.is_cpu else value.detach().clone()
