"""Process groups of threads that count what crosses them, and a state sent through one."""

import gc
import time
from collections.abc import Callable
from datetime import timedelta
from queue import SimpleQueue
from typing import Any

import torch

import builders_ends
from checkpointheal import PGTransport
from checkpointheal.ends import mixed
from checkpointheal.errors import PeerLost

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

    def size(self) -> int:
        return self._group.size()


class Exchange:
    """One rank of a process group in memory, whose tensors may lie on any device: `devices` tells on which they did."""

    def __init__(self, rank: int, mine: "SimpleQueue[torch.Tensor]", theirs: "SimpleQueue[torch.Tensor]") -> None:
        self._rank, self._mine, self._theirs = rank, mine, theirs
        self.devices: set[str] = set()

    @staticmethod
    def pair() -> "tuple[Exchange, Exchange]":
        queues: list[SimpleQueue[torch.Tensor]] = [SimpleQueue(), SimpleQueue()]
        return Exchange(0, queues[0], queues[1]), Exchange(1, queues[1], queues[0])

    def rank(self) -> int:
        return self._rank

    def size(self) -> int:
        return 2

    def send(self, tensors: list[torch.Tensor], peer: int, tag: int) -> Any:
        self.devices.update(tensor.device.type for tensor in tensors)
        for tensor in tensors:
            self._theirs.put(tensor.clone())
        return Arriving([], self._mine)

    def recv(self, tensors: list[torch.Tensor], peer: int, tag: int) -> Any:
        self.devices.update(tensor.device.type for tensor in tensors)
        return Arriving(tensors, self._mine)


class Arriving:
    """Messages that are taken, in order, when they are waited for."""

    def __init__(self, tensors: list[torch.Tensor], queue: "SimpleQueue[torch.Tensor]") -> None:
        self._tensors, self._queue = tensors, queue

    def wait(self, timeout: timedelta) -> bool:
        for tensor in self._tensors:
            tensor.copy_(self._queue.get(timeout=timeout.total_seconds()))
        return True


def a_transport(group: Any, target: object = None, seconds: float = 20, kind: Any = PGTransport) -> Any:
    """Ours, unless said otherwise."""
    return kind(group, timedelta(seconds=seconds), CPU, (lambda: target) if target is not None else None)


def a_receiver(group: Any, target: Any, seconds: float = 1, **options: Any) -> PGTransport:
    return PGTransport(group, timedelta(seconds=seconds), CPU, lambda: target, **options)


def dying(group: Any, chunks: int) -> Recording:
    """A donor's group, on which so many chunks go out."""

    def die(number: int) -> None:
        if number == 2 + chunks:
            raise RuntimeError("the node is gone")

    return Recording(group, die)


def broken_after(chunks: int, target: Any, state: Any, delta: bool = False, **options: Any) -> PGTransport:
    """A transport whose donor died after so many chunks."""
    giving, taking = builders_ends.gloo_groups(seconds=3)
    receiver = a_receiver(taking, target, **options)
    gave, took = builders_ends.side_by_side(
        lambda: a_transport(dying(giving, chunks)).send_checkpoint([1], state),
        lambda: receiver.recv_checkpoint(0, delta=delta),
    )
    assert isinstance(gave, PeerLost)
    assert isinstance(took, PeerLost)
    return receiver


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


def until_gone(memory: mixed.Memory) -> None:
    """A thread that was left holds its target until its own timeout."""
    until = time.monotonic() + 60
    while not all(span.is_gone for span in memory):
        assert time.monotonic() < until, "somebody holds it"
        gc.collect()
        time.sleep(0.01)
