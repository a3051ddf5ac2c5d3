"""A channel between two threads of one process, for tests: of this package's, and of who writes a session beside it.

It behaves like a process group where a session could notice: messages keep their order and their length, a shorter
one leaves the rest of its buffer as it was, a longer one ends the channel, and so does a peer that hangs up.
"""

import queue

import torch

from checkpointheal.errors import Overdue, PeerLost


class LoopBack:
    """One end. Made in pairs by `pair`."""

    def __init__(
        self, outgoing: "queue.SimpleQueue[bytes | None]", incoming: "queue.SimpleQueue[bytes | None]"
    ) -> None:
        self._outgoing, self._incoming = outgoing, incoming
        self._closed = False

    @classmethod
    def pair(cls) -> "tuple[LoopBack, LoopBack]":
        """Two ends of one channel."""
        there: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        back: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        return cls(there, back), cls(back, there)

    def send(self, buffer: torch.Tensor) -> "Sent":
        """Leave a copy for the other end. Raises PeerLost after `close`."""
        if self._closed:
            raise PeerLost("this end of the channel was closed")
        self._outgoing.put(buffer.numpy().tobytes())
        return Sent()

    def receive(self, into: torch.Tensor) -> "Awaited":
        """Take the next message when it is waited for."""
        return Awaited(self._incoming, into)

    def close(self) -> None:
        """Hang up; what was sent before still arrives."""
        self._closed = True
        self._outgoing.put(None)


class Sent:
    """It left at once."""

    def wait(self, seconds: float) -> None:
        """Nothing to wait for."""


class Awaited:
    """The next message, if it is no longer than the buffer."""

    def __init__(self, incoming: "queue.SimpleQueue[bytes | None]", into: torch.Tensor) -> None:
        self._incoming, self._into = incoming, into

    def wait(self, seconds: float) -> None:
        """Raises Overdue or PeerLost."""
        try:
            message = self._incoming.get(timeout=seconds)
        except queue.Empty:
            raise Overdue(f"nothing came for {seconds:.1f} s") from None
        if message is None:
            self._incoming.put(None)
            raise PeerLost("the other end hung up")
        if len(message) > self._into.numel():
            raise PeerLost(f"{len(message)} bytes came where {self._into.numel()} were due")
        if message:
            self._into[: len(message)] = torch.frombuffer(bytearray(message), dtype=torch.uint8)
