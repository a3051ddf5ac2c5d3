"""How does `run` tell the agent what it sees, without ever depending on one?

A connection that never blocks, comes back when the agent does, and may be missing for good. An end that nobody could be
told of is told to the next agent that answers. Must not know processes.
"""

import contextlib
import socket
from pathlib import Path

from pydantic import ValidationError

from checkpointheal.contract.base import Message
from checkpointheal.contract.trainer import AGENT_SAYS, SOCKET_NAME, EndTrainer, Exited, Hello

LINE_LIMIT = 1 << 16
RETRY = 0.5
"""Seconds between two attempts to reach an agent."""


class AgentLine:
    """The connection, or its absence for now. `fileno` may be watched for reading while `connected`."""

    def __init__(self, arena: Path) -> None:
        self._path = str(arena / SOCKET_NAME)
        self._socket: socket.socket | None = None
        self._heard = b""
        self._hello: Hello | None = None
        self._untold: Exited | None = None
        self._standing: Exited | None = None
        self._retry_at = 0.0

    @property
    def connected(self) -> bool:
        """Whether an agent listens."""
        return self._socket is not None

    @property
    def retry_at(self) -> float | None:
        """When `connect` is due; None where it is not."""
        return None if self.connected else self._retry_at

    def fileno(self) -> int:
        """For selectors; -1 while there is no connection."""
        return self._socket.fileno() if self._socket else -1

    def connect(self, now: float) -> None:
        """Try once to reach the agent, and tell it how things stand."""
        if self.connected:
            return
        self._retry_at = now + RETRY
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            peer.connect(self._path)
        except OSError:
            peer.close()
            return
        self._socket, self._heard = peer, b""
        for message in (self._hello, self._untold, self._standing):  # nobody is heard who has not said who it is
            if message is not None and self._send(message) and message is self._untold:
                self._untold = None

    def say_started(self, hello: Hello) -> None:
        """A new incarnation begins."""
        self._hello, self._standing = hello, None
        self._send(hello)

    def say_exited(self, exited: Exited) -> None:
        """The trainer ended, stands still, or goes on again."""
        ended = exited.code is not None or exited.signal is not None
        self._standing = exited if exited.stopped else None
        if not self._send(exited) and ended:
            self._untold = exited

    def hear(self) -> list[EndTrainer]:
        """What the agent asks of `run`; other words, and words of a later version, are not for it."""
        if self._socket is None:
            return []
        try:
            heard = self._socket.recv(LINE_LIMIT)
        except BlockingIOError:
            return []
        except OSError:
            heard = b""
        *lines, self._heard = (self._heard + heard).split(b"\n")
        if not heard or len(self._heard) > LINE_LIMIT:
            self.close()
        return [order for line in lines if (order := _order(line)) is not None]

    def close(self) -> None:
        """Hang up, until the next `connect`."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: Message) -> bool:
        """False, and no connection, where it did not go out as a whole: half a line would garble the next."""
        if self._socket is None:
            return False
        line = message.model_dump_json().encode() + b"\n"
        with contextlib.suppress(OSError):
            if self._socket.send(line) == len(line):
                return True
        self.close()
        return False


def _order(line: bytes) -> EndTrainer | None:
    try:
        said = AGENT_SAYS.validate_json(line)
    except ValidationError:
        return None
    return said if isinstance(said, EndTrainer) else None
