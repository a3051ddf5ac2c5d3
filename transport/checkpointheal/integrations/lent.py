"""How does a process group that lives in a child of this process carry our messages?

It takes memory that both share only, and would move ours there. So each message has memory of its own, which is lent to
the child. Its pipe answers one question at a time: nobody else may use the group meanwhile. Must not know what crosses.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

import torch
from torch.distributed.distributed_c10d import Work

from checkpointheal.channel.group import Group
from checkpointheal.ranks import Seated

NOT_KNOWN = -1


class Lendable(Group, Seated, Protocol):
    """A group in a child, whose rank the child alone is told."""


class LentWork:
    """One send or receive of such a group."""

    def __init__(self, work: Work, places: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """`places`: what the caller wants filled, and what the child fills."""
        self._work, self._places = work, places

    def wait(self, timeout: timedelta) -> bool:
        """Until it is over; then what was received is in its place. Raises RuntimeError."""
        with _as_torch_says_it():
            self._work.wait(timeout)
        for ours, theirs in self._places:
            ours.copy_(theirs)
        return True


class Lent:
    """Such a group, as a channel over a group wants it."""

    def __init__(self, group: Lendable) -> None:
        self._group = group

    def rank(self) -> int:
        """Not known on this side."""
        return NOT_KNOWN

    def size(self) -> int:
        """How many ranks there are."""
        return self._group.size()

    def send(self, tensors: list[torch.Tensor], peer: int, tag: int, /) -> LentWork:
        """Start sending a copy. Raises RuntimeError."""
        lent = [tensor if tensor.is_cuda else _room(tensor).copy_(tensor) for tensor in tensors]
        with _as_torch_says_it():
            return LentWork(self._group.send(lent, peer, tag), ())

    def recv(self, tensors: list[torch.Tensor], peer: int, tag: int, /) -> LentWork:
        """Start receiving. Raises RuntimeError."""
        lent = [tensor if tensor.is_cuda else _room(tensor) for tensor in tensors]
        with _as_torch_says_it():
            work = self._group.recv(lent, peer, tag)
        return LentWork(work, [(ours, theirs) for ours, theirs in zip(tensors, lent, strict=True) if not ours.is_cuda])


def _room(tensor: torch.Tensor) -> torch.Tensor:
    room = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    room.share_memory_()  # type: ignore[no-untyped-call]
    return room


@contextmanager
def _as_torch_says_it() -> Iterator[None]:
    """A child that died, or its pipe, says so by other errors than a group in this process."""
    try:
        yield
    except (OSError, EOFError) as error:
        raise RuntimeError(str(error) or "the process of the group has ended") from error
