"""How does a peer behave that says what it was told to say, and is gone at its end?

By a script, whatever it hears; or by a book, which says what each chunk is. As a process group of torch's does: a
shorter message leaves the rest of its buffer as it was.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch

from checkpointheal import wire


class Scripted:
    """A group of two ranks, the first of which speaks by a script."""

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
        return 1

    def size(self) -> int:
        return 2


class Booked(Scripted):
    """Its book begins with the offer's two messages; then what it says of each chunk, whenever that one is wanted."""

    def __init__(self, book: Sequence[bytes]) -> None:
        super().__init__(self._speak(book))
        self._wanted: deque[int] = deque()
        self._prefix: wire.Prefix | None = None

    def send(self, tensors: list[torch.Tensor], peer: int, tag: int) -> Any:
        done = super().send(tensors, peer, tag)
        if self._prefix is None:
            self._prefix = wire.parse_prefix(self.sent[-1])
        else:
            frame, self._prefix = wire.parse(self._prefix, self.sent[-1]), None
            if isinstance(frame, wire.Want):
                self._wanted.extend(index for each in frame.ranges for index in range(each.first, each.end))
        return done

    def _speak(self, book: Sequence[bytes]) -> Iterator[bytes]:
        yield from book[:2]
        while self._wanted and 2 + self._wanted[0] < len(book):
            yield book[2 + self._wanted.popleft()]


class Gathered:
    """A group in which each other rank is one of these."""

    def __init__(self, peers: Sequence[Scripted]) -> None:
        self._peers = peers

    def send(self, tensors: list[torch.Tensor], peer: int, tag: int) -> Any:
        return self._peers[peer].send(tensors, peer, tag)

    def recv(self, tensors: list[torch.Tensor], peer: int, tag: int) -> Any:
        return self._peers[peer].recv(tensors, peer, tag)

    def rank(self) -> int:
        return len(self._peers)

    def size(self) -> int:
        return len(self._peers) + 1


class Done:
    """It has gone, or is here."""

    def wait(self, timeout: timedelta | None = None) -> bool:
        del timeout
        return True

    def is_completed(self) -> bool:
        return True
