"""How do two processes that share nothing but a process group get a lifeline?

The recipient listens for as long as one transfer takes, where gloo itself would listen, and says where in its Hello;
the donor calls. Where that cannot be, nothing is lost but the early word of a death. Must not know what is transferred.
"""

import contextlib
import math
import os
import secrets
import socket
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from checkpointheal.channel.lifeline import Lifeline
from checkpointheal.channel.own_address import listen_at, own_address
from checkpointheal.errors import CheckpointHealError, WorldFailed
from checkpointheal.wire import Lifeline as Told

Lost = Callable[[CheckpointHealError], None]
"""Called at most once, by a thread of the lifeline's own."""
_WORD_BYTES = 32
_GRACE = 0.5
"""Seconds between the end of a lifeline and the word of it: what the peer sent before may still land."""
_PATIENCE = 1.0
"""Seconds for the word of whoever calls or answers."""


class Beside:
    """The lifeline beside one transfer, from either side. Who listens or calls says whom to tell of a loss."""

    def __init__(self, stall: float) -> None:
        """`stall`: seconds of silence that are too many."""
        self._stall = stall
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._listener: socket.socket | None = None
        self._hearing: threading.Thread | None = None
        self._lifeline: Lifeline | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A goodbye, but where nothing was told to the peer, which need not wait: the world failed, or a bug."""
        is_told = error is None or (isinstance(error, CheckpointHealError) and not isinstance(error, WorldFailed))
        self._end(Lifeline.close if is_told else Lifeline.cut)

    def cut(self) -> None:
        """Nobody waits for this transfer any more."""
        self._end(Lifeline.cut)

    def listen(self, lost: Lost) -> Told | None:
        """Wait for the donor's call; what it must know, or None where this host lets nobody listen."""
        host = own_address(os.environ.get("GLOO_SOCKET_IFNAME", ""))
        try:
            self._listener = listener = listen_at(host)
        except OSError:
            return None
        words = secrets.token_hex(_WORD_BYTES // 2), secrets.token_hex(_WORD_BYTES // 2)
        self._hearing = _start(self._hear, listener, *(word.encode() for word in words), lost)
        return Told(host=host, port=listener.getsockname()[1], call=words[0], answer=words[1])

    def call(self, lost: Lost, told: Told | None) -> None:
        """Call the recipient, meanwhile."""
        if told is not None:
            _start(self._call, told, lost)

    def _hear(self, listener: socket.socket, call: bytes, answer: bytes, lost: Lost) -> None:
        with contextlib.suppress(OSError):
            while self._lifeline is None:
                guest, _ = listener.accept()
                with contextlib.suppress(OSError):
                    if _said(guest) == call:
                        guest.sendall(answer)
                        self._hold(guest, lost)
                        continue
                guest.close()
        listener.close()

    def _call(self, told: Told, lost: Lost) -> None:
        with contextlib.suppress(OSError):
            connection = socket.create_connection((str(told.host), told.port), _PATIENCE)
            with contextlib.suppress(OSError):
                connection.sendall(told.call.encode())
                if _said(connection) == told.answer.encode():
                    self._hold(connection, lost)
                    return
            connection.close()

    def _hold(self, connection: socket.socket, lost: Lost) -> None:
        connection.settimeout(None)
        with self._lock:
            if self._over.is_set():
                connection.close()
            else:
                self._lifeline = Lifeline(connection, self._stall, math.inf, partial(self._tell, lost))

    def _tell(self, lost: Lost, error: CheckpointHealError) -> None:
        if not self._over.wait(_GRACE):
            lost(error)

    def _end(self, leave: Callable[[Lifeline], None]) -> None:
        with self._lock:
            if self._over.is_set():
                return
            self._over.set()
        if self._listener is not None and self._hearing is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._hearing.join(_PATIENCE)
        if self._lifeline is not None:
            leave(self._lifeline)


def _said(connection: socket.socket) -> bytes:
    connection.settimeout(_PATIENCE)
    word = b""
    while len(word) < _WORD_BYTES and (more := connection.recv(_WORD_BYTES - len(word))):
        word += more
    return word


def _start(act: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=act, args=args, daemon=True, name="lifeline")
    thread.start()
    return thread
