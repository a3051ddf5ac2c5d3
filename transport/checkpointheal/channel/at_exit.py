"""What becomes of threads that wait inside torch when the program ends?

One that woke up there while Python goes down would take the process with it, by an abort. So what they wait for is made
to fail before. Must not know what they wait for.
"""

import atexit
import contextlib
import threading
from collections.abc import Iterator
from typing import Protocol
from weakref import WeakSet

import torch

from checkpointheal.channel.channel import Channel
from checkpointheal.channel.group import GroupChannel

_PATIENCE = 1.0


class Waiting(Protocol):
    """Something that has a thread of its own."""

    def end(self) -> None:
        """Let the thread end."""
        ...


def register(waiting: Waiting) -> None:
    """End it when the program ends, if it is still there."""
    _waiting.add(waiting)


def end(channel: Channel, thread: threading.Thread) -> None:
    """Let what is waited for fail, as the channel knows it: by a timeout, which may end the whole group."""
    with contextlib.suppress(Exception):  # that it fails is what it is for
        channel.receive(torch.empty(1, dtype=torch.uint8, device="cpu")).wait(0.001)
    thread.join(_PATIENCE)


@contextlib.contextmanager
def ended(channel: Channel) -> Iterator[None]:
    """What this thread waits for meanwhile is ended with the program, where that is inside torch."""
    call = _Call(channel, threading.current_thread())
    if isinstance(channel, GroupChannel):
        register(call)
    try:
        yield
    finally:
        _waiting.discard(call)


class _Call:
    """A thread that uses a channel."""

    def __init__(self, channel: Channel, thread: threading.Thread) -> None:
        self._channel, self._thread = channel, thread

    def end(self) -> None:
        end(self._channel, self._thread)


_waiting: "WeakSet[Waiting]" = WeakSet()


@atexit.register
def _end_all() -> None:
    for waiting in list(_waiting):
        waiting.end()
