"""How does the trainer talk with its agent without ever waiting for it longer than it chose to?

One daemon thread holds the connection over the arena's Unix socket, comes back when the agent restarts, and keeps the
latest answer of each kind. Nothing here raises into the training loop. Must not know torch or the state.
"""

import contextlib
import logging
import os
import select
import socket
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from checkpointheal.contract.base import Message
from checkpointheal.contract.trainer import (
    AGENT_SAYS,
    HOLD,
    LINE_LIMIT,
    SOCKET_NAME,
    AgentSays,
    EpochOver,
    Hello,
    StoreAsk,
    StoreSaid,
    Waiting,
)

log = logging.getLogger("checkpointheal")

PAUSE = 0.1
"""Seconds between two calls."""
LONG_WORD = 1.0
"""Seconds within which the agent takes what a word to the rendezvous has beyond the socket's buffer."""
_KIND = {"reserved": "reserve", "refused": "reserve"}
_LINES: "weakref.WeakSet[Line]" = weakref.WeakSet()


class Line:
    """The connection. `say` and `wait_for` may be called from any thread."""

    def __init__(self, directory: Path, hello: Callable[[], Hello], on_epoch_over: Callable[[EpochOver], None]) -> None:
        self._path = str(directory / SOCKET_NAME)
        self._hello, self._on_epoch_over = hello, on_epoch_over
        self._changed = threading.Condition(threading.RLock())
        self._socket: socket.socket | None = None
        self._said_again: dict[str, Message] = {}
        self._answers: dict[str, AgentSays] = {}
        self._ended = False
        self._told_unprotected = False
        self._told_why: tuple[int, str] | None = None
        _LINES.add(self)

    def start(self) -> None:
        """Call the agent, now and whenever it is gone."""
        threading.Thread(target=self._run, name="checkpointheal-line", daemon=True).start()

    @property
    def connected(self) -> bool:
        """Whether an agent listens now."""
        return self._socket is not None

    def say(self, message: Message, *, again: str | None = None) -> bool:
        """Tell the agent; False where none listens. Under `again`, it is repeated to an agent that comes back."""
        with self._changed:
            if again:
                self._said_again[again] = message
            return self._send(message)

    def ask(self, message: Message, kind: str) -> bool:
        """Tell the agent, and forget what it answered before. An agent that comes back is asked again."""
        with self._changed:
            self._answers.pop(kind, None)
            return self.say(message, again=kind)

    def latest(self, kind: str) -> AgentSays | None:
        """The latest answer of this kind."""
        return self._answers.get(kind)

    def forget(self, kind: str) -> None:
        """What was answered so far belongs to a past that is over."""
        with self._changed:
            self._answers.pop(kind, None)

    def repeat_epoch_over(self) -> None:
        """Hand the latest word that an epoch is over on once more, where one came."""
        if isinstance(told := self.latest("epoch_over"), EpochOver):
            self._on_epoch_over(told)

    def unsay(self, again: str) -> None:
        """Do not repeat it any more."""
        with self._changed:
            self._said_again.pop(again, None)

    def wait_for(self, kind: str, accept: Callable[[AgentSays], bool], seconds: float) -> AgentSays | None:
        """The latest answer of this kind that is accepted; None once the seconds are over."""

        def found() -> bool:
            return (answer := self._answers.get(kind)) is not None and accept(answer)

        with self._changed:
            return self._answers[kind] if self._changed.wait_for(found, seconds) else None

    def wait_for_any(self, accept: Callable[[AgentSays], bool], seconds: float | None) -> AgentSays | None:
        """The latest answer of any kind that is accepted; None once the seconds are over. None: for ever."""

        def found() -> AgentSays | None:
            return next(filter(accept, self._answers.values()), None)

        with self._changed:
            return self._changed.wait_for(found, seconds)

    def ask_store(self, ask: StoreAsk, is_over: Callable[[], bool], seconds: float | None) -> StoreSaid | None:
        """Say a word to the rendezvous and wait for its answer; None once `is_over`, or the seconds are.

        Several threads may ask at a time. An agent that comes back is asked again.
        """
        kind = again = f"store {ask.number}"

        def found() -> bool:
            return kind in self._answers or is_over()

        with self._changed:
            self.say(ask, again=None if ask.do == "add" else again)
            self._changed.wait_for(found, seconds)
            self.unsay(again)
            answer = self._answers.pop(kind, None)
        return answer if isinstance(answer, StoreSaid) and answer.epoch == ask.epoch else None

    def wake(self) -> None:
        """Have everybody who waits look again at what they wait for."""
        with self._changed:
            self._changed.notify_all()

    def end(self) -> None:
        """Hang up for good."""
        with self._changed:
            self._ended = True
            self._drop()

    def forget_in_child(self) -> None:
        """A forked data loader must not keep the connection alive after the trainer's death."""
        if self._socket is not None:
            # Not `close`, which waits for the file that the listening thread has made of it: there is no such thread.
            with contextlib.suppress(OSError):
                os.close(self._socket.detach())

    def _run(self) -> None:
        while not self._ended:
            if self._connect():
                self._listen()
                self._say_unprotected_once()
            time.sleep(PAUSE)  # behind a call that was hung up on, too: it may be for what is said on each

    def _connect(self) -> bool:
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            peer.connect(self._path)
        except OSError:
            peer.close()
            return False
        with self._changed:
            self._socket = peer
            self._send(self._hello())
            for message in self._said_again.values():
                self._send(message)
            self._changed.notify_all()
        return True

    def _listen(self) -> None:
        connection = self._socket
        if connection is None:
            return
        with contextlib.suppress(OSError), connection.makefile("rb") as lines:
            while line := lines.readline(LINE_LIMIT):
                self._take(line)
        with self._changed:
            self._drop()

    def _take(self, line: bytes) -> None:
        try:
            answer = AGENT_SAYS.validate_json(line)
        except ValidationError:
            log.warning("checkpointheal: the agent said something that this version does not know; it is ignored")
            return
        with self._changed:
            self._answers[_kind(answer)] = answer
            self._changed.notify_all()
        if isinstance(answer, EpochOver):
            self._on_epoch_over(answer)
        if isinstance(answer, Waiting):
            self._say_why_once(answer)

    def _send(self, message: Message) -> bool:
        """False, and no connection, where it did not go out as a whole at once: an agent may stand still."""
        if self._socket is None:
            return False
        line = message.model_dump_json().encode() + b"\n"
        with contextlib.suppress(OSError):
            sent = self._socket.send(line, socket.MSG_DONTWAIT)
            # The only word that may be long; and who says it waits for the answer anyway.
            if sent == len(line) or (isinstance(message, StoreAsk) and _send_on(self._socket, line[sent:])):
                return True
        self._drop()
        return False

    def _drop(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None

    def _say_why_once(self, told: Waiting) -> None:
        """An agent that comes back tells it again."""
        if (told.request, told.reason) != self._told_why:
            self._told_why = told.request, told.reason
            level = logging.INFO if told.reason == HOLD else logging.WARNING
            log.log(level, "checkpointheal: restore() waits, %s: %s", told.reason, told.message)

    def _say_unprotected_once(self) -> None:
        if not (self._ended or self._told_unprotected or "done" in self._said_again):
            self._told_unprotected = True
            log.warning(
                "checkpointheal: the agent is gone; process %d trains on, unprotected until it is back", os.getpid()
            )


def _send_on(connection: socket.socket, rest: bytes) -> bool:
    """Whether the rest of a line went out in time. Not by the socket's timeout, which would end the listening too."""
    room, until = select.poll(), time.monotonic() + LONG_WORD
    room.register(connection, select.POLLOUT)
    while rest and (left := until - time.monotonic()) > 0:
        if room.poll(left * 1000):
            rest = rest[connection.send(rest, socket.MSG_DONTWAIT) :]
    return not rest


def _kind(answer: AgentSays) -> str:
    """Under which name the latest answer is kept."""
    return f"store {answer.number}" if isinstance(answer, StoreSaid) else _KIND.get(answer.say, answer.say)


def _forget_lines() -> None:
    for line in list(_LINES):
        line.forget_in_child()


os.register_at_fork(after_in_child=_forget_lines)
