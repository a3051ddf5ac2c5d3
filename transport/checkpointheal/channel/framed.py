"""What do messages look like on one connection that does not wait?

Each behind a kind and a length. Bytes go from and to the memory that they are given, never through another. One
thread's alone, and it must not know queues, clocks or peers.
"""

import socket
import ssl
import struct
from collections import deque

from checkpointheal.channel.secured import Secured

Connection = socket.socket | Secured
MESSAGE, ALIVE, BYE = 0, 1, 2
_HEAD = struct.Struct("<BQ")
_NOT_NOW = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)
AT_ONCE = 1 << 20
"""Bytes that go one way before the other way is looked at."""


class Outbound:
    """What goes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._parts: deque[memoryview] = deque()

    @property
    def idle(self) -> bool:
        """Whether everything has gone."""
        return not self._parts

    def put(self, kind: int, body: memoryview | None = None) -> None:
        """Let this go next."""
        self._parts.append(memoryview(_HEAD.pack(kind, len(body) if body else 0)))
        if body:
            self._parts.append(body)

    def push(self) -> int:
        """How many bytes went now. Raises OSError."""
        sent = 0
        try:
            while self._parts and sent < AT_ONCE:
                part = self._parts[0]
                count = self._connection.send(part)
                sent += count
                if count == len(part):
                    self._parts.popleft()
                else:
                    self._parts[0] = part[count:]
        except _NOT_NOW:
            pass
        return sent


class Inbound:
    """What comes: a head, then what it announces, into memory that is told by `fill`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._head = bytearray(_HEAD.size)
        self._room: memoryview | None = memoryview(self._head)
        self._announced: tuple[int, int] | None = None
        self.ended = False

    @property
    def announced(self) -> tuple[int, int] | None:
        """Kind and length of what comes next, while there is no room for it; else None."""
        return self._announced if self._room is None else None

    @property
    def whole(self) -> bool:
        """Whether the room that was told is full."""
        return self._announced is not None and self._room is not None and not len(self._room)

    def fill(self, room: memoryview) -> None:
        """Let what was announced come here; it has this length."""
        self._room = room

    def next(self) -> None:
        """Be ready for another head."""
        self._announced, self._room = None, memoryview(self._head)

    def pull(self) -> int:
        """How many bytes came now; at the end of the stream `ended` is set. Raises OSError."""
        came = 0
        try:
            while self._room and came < AT_ONCE and not self.ended:
                count = self._connection.recv_into(self._room)
                self.ended = count == 0
                came += count
                self._room = self._room[count:]
        except _NOT_NOW:
            pass
        if self._announced is None and self._room is not None and not len(self._room):
            self._announced, self._room = _HEAD.unpack(self._head), None
        return came
