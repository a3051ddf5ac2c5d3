"""Is the peer of this transfer alive?

Plain gloo notices a killed peer only every second time. So both sides hold one more TCP connection, on which each says
every now and then that it is there, and answers the other, which may be less patient: its end means that the peer died,
its silence that the peer stands still. Must not know what is transferred.
"""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable

from checkpointheal.channel.channel import FOR_GOOD
from checkpointheal.errors import CheckpointHealError, Overdue, PeerLost

_ALIVE, _TOO, _BYE = b".", b",", b"!"
_BEATS = 5
"""Words per stall limit."""


class Lifeline:
    """One connection, watched by a thread of its own until `close`."""

    def __init__(
        self, connection: socket.socket, stall: float, deadline: float, on_end: Callable[[CheckpointHealError], None]
    ) -> None:
        """`stall`: seconds of silence that are too many; `deadline`: a monotonic instant; `on_end` is called once."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection, self._stall, self._deadline, self._on_end = connection, stall, deadline, on_end
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lifeline", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Say goodbye: what this side came for is done, or told to the other one over the channel."""
        self._leave(_BYE)

    def cut(self) -> None:
        """Hang up: the other side need not wait for words that will not come."""
        self._leave(b"")

    def _leave(self, word: bytes) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._connection.sendall(word)
            self._connection.shutdown(socket.SHUT_RDWR)
        if self._thread is not threading.current_thread():  # whom it tells of the end may well hang up at once
            self._thread.join()
        self._connection.close()

    def _watch(self) -> None:
        error = self._why_it_ended()
        if error is not None and not self._closed.is_set():
            self._on_end(error)

    def _why_it_ended(self) -> CheckpointHealError | None:
        heard = due = time.monotonic()
        awaited = select.poll()  # select() knows no descriptor above 1023
        awaited.register(self._connection, select.POLLIN)
        while not self._closed.is_set():
            if (now := time.monotonic()) >= due:
                self._say(_ALIVE)
                due = now + self._stall / _BEATS
            # The socket is asked before the clock: who was stopped itself must not blame the peer.
            if awaited.poll(min(max(0.0, due - time.monotonic()), FOR_GOOD) * 1000):
                said = self._read()
                if not said or _BYE in said:
                    return self._peer_left(said)
                if _ALIVE in said:  # and nothing else: two that answer every word never rest
                    self._say(_TOO)
                heard = time.monotonic()
            elif time.monotonic() - heard > self._stall:
                return Overdue(f"the peer has not been heard for {self._stall:.1f} s")
            if time.monotonic() > self._deadline:
                return Overdue("the deadline of this attempt has passed")
        return None

    def _peer_left(self, said: bytes) -> CheckpointHealError | None:
        """After a goodbye, its last words may still be on their way through the channel."""
        if not said:
            return PeerLost("the peer's process is gone, or it has hung up")
        return None if self._closed.wait(self._stall) else PeerLost("the peer left before this side was done")

    def _say(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # a way that is gone is noticed by its silence
            self._connection.send(word, socket.MSG_DONTWAIT)

    def _read(self) -> bytes:
        try:
            return self._connection.recv(4096)
        except OSError:
            return b""
