"""How does a torch process group carry the bytes?

Any c10d group will do: gloo, NCCL or one of ours. One tag for everything: a group keeps what has one tag in order.
Must not know who made the group.
"""

import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

import torch
from torch.distributed.distributed_c10d import Work

from checkpointheal.channel.channel import FOR_GOOD
from checkpointheal.errors import Overdue, PeerLost

TAG = 0x4348
_ADVICE = re.compile(r"^\[[^]]*\] |\. This is typically .*")
"""gloo says where in its source it is, and what one might do; neither helps who reads a heal's status."""
_CPU = torch.device("cpu")
_Verb = Callable[[list[torch.Tensor], int, int], Work]


class Group(Protocol):
    """What is needed of a c10d process group, or of a backend of one."""

    def send(self, tensors: list[torch.Tensor], peer: int, tag: int, /) -> Work:
        """Start sending."""
        ...

    def recv(self, tensors: list[torch.Tensor], peer: int, tag: int, /) -> Work:
        """Start receiving."""
        ...


class GroupChannel:
    """A way to one rank of a process group. `device` is where the group wants its tensors.

    `hang_up` is called where a transfer is broken off without a word: the group itself cannot say so.
    """

    def __init__(
        self, group: Group, peer: int, device: torch.device = _CPU, hang_up: Callable[[], None] = lambda: None
    ) -> None:
        self._group, self._peer, self._device = group, peer, device
        self.close = hang_up

    def send(self, buffer: torch.Tensor) -> "GroupPending":
        """Start sending, staged through the group's device where that is not the CPU."""
        return self._start(self._group.send, buffer.to(self._device), None)

    def receive(self, into: torch.Tensor) -> "GroupPending":
        """Start receiving."""
        if self._device.type == "cpu":
            return self._start(self._group.recv, into, None)
        return self._start(self._group.recv, torch.empty_like(into, device=self._device), into)

    def _start(self, verb: _Verb, moved: torch.Tensor, final: torch.Tensor | None) -> "GroupPending":
        try:
            work = verb([moved], self._peer, TAG)
        except RuntimeError as error:
            raise _lost(self._peer, error) from error
        return GroupPending(work, self._peer, moved, final)


class GroupPending:
    """One send or receive of a group."""

    def __init__(self, work: Work, peer: int, moved: torch.Tensor, final: torch.Tensor | None) -> None:
        self._work, self._peer, self._moved, self._final = work, peer, moved, final

    def wait(self, seconds: float) -> None:
        """Until it is over. Raises Overdue or PeerLost: torch tells both by words alone, so the clock decides."""
        end = time.monotonic() + seconds
        try:
            self._work.wait(timedelta(seconds=min(max(seconds, 0.001), FOR_GOOD)))
        except RuntimeError as error:
            if time.monotonic() >= end - 0.01:
                raise Overdue(f"nothing came from or went to rank {self._peer} for {seconds:.1f} s") from error
            raise _lost(self._peer, error) from error
        if self._final is not None:
            self._final.copy_(self._moved)


def _lost(peer: int, error: RuntimeError) -> PeerLost:
    told = _ADVICE.sub("", str(error).partition("\n")[0])
    return PeerLost(f"the connection to rank {peer} is gone: {told[:200]}")
