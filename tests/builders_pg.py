"""Process groups of threads that count what crosses them, and a state sent through one."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch

import builders_ends
from checkpointheal import PGTransport

CPU = torch.device("cpu")


class Recording:
    """A process group that counts the bytes and messages that it sends, and acts before any of them if told to."""

    def __init__(self, group: Any, before_send: Callable[[int], None] = lambda _number: None) -> None:
        self._group, self._before_send = group, before_send
        self.sent: list[int] = []

    def send(self, tensors: list[torch.Tensor], peer: int, tag: int) -> Any:
        self._before_send(len(self.sent))
        self.sent.append(sum(tensor.nbytes for tensor in tensors))
        return self._group.send(tensors, peer, tag)

    def recv(self, tensors: list[torch.Tensor], peer: int, tag: int) -> Any:
        return self._group.recv(tensors, peer, tag)

    def rank(self) -> int:
        return self._group.rank()


def a_transport(group: Any, target: object = None, seconds: float = 20, kind: Any = PGTransport) -> Any:
    """Ours, unless said otherwise."""
    return kind(group, timedelta(seconds=seconds), CPU, (lambda: target) if target is not None else None)


def cross(state: object, target: object = None, kind: Any = PGTransport, seconds: float = 20) -> Any:
    """Send it from one rank to another; what was received, or the first error."""
    giving, taking = builders_ends.gloo_groups(seconds=seconds)
    outcomes = builders_ends.side_by_side(
        lambda: a_transport(giving, seconds=seconds, kind=kind).send_checkpoint([1], state),
        lambda: a_transport(taking, target, seconds, kind).recv_checkpoint(0),
    )
    for outcome in outcomes[::-1]:
        if isinstance(outcome, Exception):
            raise outcome
    return outcomes[1]


def same(ours: object, theirs: object) -> bool:
    """Equal in type, order, bits and layout."""
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor):
        facts = [(t.dtype, t.shape, t.stride(), t.requires_grad) for t in (ours, theirs)]
        return facts[0] == facts[1] and raw(ours) == raw(theirs)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return repr(ours) == repr(theirs)


def raw(tensor: torch.Tensor) -> bytes:
    """Its elements' bits, in order."""
    bits = tensor.detach().view(torch.uint8) if tensor.itemsize == 1 else tensor.detach()  # int4 can do nothing else
    flat = bits.contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
