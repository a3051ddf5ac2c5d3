"""How does one TCP connection carry TLS with few system calls?

OpenSSL by itself asks the system twice for each 16 KiB that come, and who receives is the slower one. Here it works in
memory, and what it needs comes a megabyte at a time. To others it is a socket. Must not know whom it trusts.
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any

COMING, GOING = 1 << 20, 1 << 16
"""Bytes at a time, at most: they are copied once more for that, while the processor still has them near."""


class Secured:
    """One connection under TLS. One thread's alone."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, name: str | None) -> None:
        """`name`: what the host's certificate must bear, for its guest; None: this side is the host."""
        self._connection, self._came, self._made = connection, ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._made, server_side=name is None, server_hostname=name)
        self._room = memoryview(bytearray(COMING))
        self._going, self._counted = memoryview(b""), 0
        self._is_shut = False

    def shake(self, seconds: float) -> None:
        """Until both sides know each other. Raises TimeoutError, ssl.SSLError or OSError."""
        end = time.monotonic() + seconds
        while True:
            self._connection.settimeout(max(end - time.monotonic(), 0.001))
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._connection.sendall(self._made.read())
                self._take_in()
            except ssl.SSLError:
                with contextlib.suppress(OSError):  # the other side is told why, if it is there
                    self._connection.sendall(self._made.read())
                raise
            else:
                self._connection.sendall(self._made.read())
                return

    def getpeercert(self) -> Mapping[str, Any]:
        """What the other end showed."""
        return self._tls.getpeercert() or {}

    def cipher(self) -> tuple[str, str, int] | None:
        """By which TLS protects what is said."""
        return self._tls.cipher()

    def send(self, part: memoryview) -> int:
        """How many bytes went. Where they have not yet, raises BlockingIOError: then send the same again."""
        if not self._going:
            self._counted = self._tls.write(part[:GOING])
            self._going = memoryview(self._made.read())
        while self._going:
            self._going = self._going[self._connection.send(self._going) :]
        return self._counted

    def sendall(self, whole: bytes) -> None:
        """All of it, however long it takes."""
        left = memoryview(whole)
        while left:
            left = left[self.send(left) :]

    def recv_into(self, room: memoryview) -> int:
        """How many bytes came: as many as there is room for, if they are here; 0 at the end. Raises BlockingIOError."""
        while not self._is_shut:
            try:
                return self._tls.read(len(room), room)  # type: ignore[return-value]  # with a buffer, it tells a number
            except ssl.SSLWantReadError:
                self._take_in()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return 0
        return self._connection.recv_into(room)

    def recv(self, count: int) -> bytes:
        """So many bytes at most."""
        room = bytearray(count)
        return bytes(room[: self.recv_into(memoryview(room))])

    def shutdown(self, how: int) -> None:
        """Nothing more is said, and nothing that comes is deciphered any more."""
        self._is_shut = True
        self._connection.shutdown(how)

    def settimeout(self, seconds: float | None) -> None:
        """As a socket does."""
        self._connection.settimeout(seconds)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """As a socket does."""
        self._connection.setsockopt(level, option, value)

    def fileno(self) -> int:
        """As a socket does."""
        return self._connection.fileno()

    def close(self) -> None:
        """As a socket does."""
        self._connection.close()

    def _take_in(self) -> None:
        if count := self._connection.recv_into(self._room):
            self._came.write(self._room[:count])
        else:
            self._came.write_eof()
