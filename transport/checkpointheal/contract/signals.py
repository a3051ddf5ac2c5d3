"""What does a training loop tell of a step besides its state?

Two numbers that go wrong before anybody looks at weights. JSON has no NaN, so one that is not finite is named instead.
Must not know who compares them.
"""

from typing import Literal

from pydantic import Field

from checkpointheal.contract.base import Message

Signal = Literal["loss", "grad_norm"]


class Signals(Message):
    """Of one step of one member, as far as its loop tells them."""

    loss: float | None = None
    grad_norm: float | None = None
    not_finite: tuple[Signal, ...] = Field(default=(), description="Those that were NaN or infinite.")
