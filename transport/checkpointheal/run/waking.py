"""How does one thread sleep until a signal, a word, or the time comes?"""

import os
import selectors
import signal
import time
from collections.abc import Iterable, Sequence
from typing import Protocol


class Watched(Protocol):
    """Something that may have something to say."""

    @property
    def connected(self) -> bool:
        """Whether there is a descriptor to watch."""

    def fileno(self) -> int:
        """The descriptor."""


def wake_on(numbers: Sequence[int]) -> int:
    """Have these signals written, as bytes, to the descriptor that is returned."""
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return woken


def wait(woken: int, watched: Iterable[Watched], until: float | None) -> bytes:
    """Sleep until something happens; returns the numbers of the signals that came."""
    with selectors.DefaultSelector() as selector:
        selector.register(woken, selectors.EVENT_READ)
        for each in watched:
            if each.connected:
                selector.register(each, selectors.EVENT_READ)
        selector.select(None if until is None else max(0.0, until - time.monotonic()))
    try:
        return os.read(woken, 4096)
    except BlockingIOError:
        return b""
