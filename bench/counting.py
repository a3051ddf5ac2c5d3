"""How many bytes does one side of a transfer send?"""

from typing import Any

import torch


class Counting:
    """A process group that counts the bytes that it sends."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self.sent = 0

    def send(self, tensors: list[torch.Tensor], peer: int, tag: int) -> Any:
        self.sent += sum(tensor.nbytes for tensor in tensors)
        return self._group.send(tensors, peer, tag)

    def recv(self, tensors: list[torch.Tensor], peer: int, tag: int) -> Any:
        return self._group.recv(tensors, peer, tag)

    def rank(self) -> int:
        return int(self._group.rank())

    def size(self) -> int:
        return int(self._group.size())
