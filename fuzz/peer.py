"""How does a peer behave that says what a script says, whatever it hears, and is gone at its end?

As a process group of torch's does: a shorter message leaves the rest of its buffer as it was.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import torch


class Scripted:
    """A group of two ranks, the other of which speaks by a script."""

    def __init__(self, messages: Iterable[bytes]) -> None:
        self._messages = iter(messages)
        self.sent: list[bytes] = []

    def send(self, tensors: list[torch.Tensor], peer: int, tag: int) -> Any:
        del peer, tag
        self.sent += [tensor.numpy().tobytes() for tensor in tensors]
        return Done()

    def recv(self, tensors: list[torch.Tensor], peer: int, tag: int) -> Any:
        del peer, tag
        (into,) = tensors
        message = next(self._messages, None)
        if message is None:
            raise RuntimeError("Connection closed by peer")
        if len(message) > into.numel():
            raise RuntimeError("a message is longer than was asked for")
        if message:
            into[: len(message)] = torch.frombuffer(bytearray(message), dtype=torch.uint8)
        return Done()

    def rank(self) -> int:
        return 0

    def size(self) -> int:
        return 2


class Done:
    """It has gone, or is here."""

    def wait(self, timeout: timedelta | None = None) -> bool:
        del timeout
        return True

    def is_completed(self) -> bool:
        return True
