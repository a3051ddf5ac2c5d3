"""How does one TCP connection, under TLS or plain, carry the bytes?

Messages in order, and between them a word now and then that says that this side is there. One thread per connection
does all of it, for a TLS connection must not be read and written at once; a wait always ends, by its clock or by
`abort`. Must not know who the peer is, nor how it was met.
"""

import contextlib
import math
import os
import select
import socket
import threading
import time
from collections import deque

import torch

from checkpointheal.channel import framed
from checkpointheal.channel.channel import FOR_GOOD
from checkpointheal.channel.framed import Connection
from checkpointheal.errors import Abandoned, BadFrame, CheckpointHealError, Overdue, PeerLost

BEATS = 5
"""Words per stall limit."""
_HEARD_OUT = 1 << 16


class Stream:
    """A way to one peer, until `close` or `abort`. The connection is its own from now on."""

    def __init__(self, connection: Connection, stall: float, peer: str = "the peer") -> None:
        """`stall`: seconds of the peer's silence that are too many; `peer`: what errors call it."""
        connection.settimeout(0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection, self._stall, self._peer = connection, stall, peer
        self._out, self._in = framed.Outbound(connection), framed.Inbound(connection)
        self._lock = threading.Lock()
        self._outgoing: deque[Moving] = deque()
        self._incoming: deque[Moving] = deque()
        self._writing: Moving | None = None
        self._filling: Moving | None = None
        self._error: CheckpointHealError | None = None
        self._closing = self._left = False
        self._until = math.inf
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)
        self._thread.start()

    def send(self, buffer: torch.Tensor) -> "Moving":
        """Start sending. Raises PeerLost, or what ended the stream."""
        return self._start(self._outgoing, buffer)

    def receive(self, into: torch.Tensor) -> "Moving":
        """Start receiving one message, which must have exactly this length. Raises as `send` does."""
        return self._start(self._incoming, into)

    def close(self) -> None:
        """Hang up; what was sent before still arrives, for which a stall limit is waited at most."""
        self._until = time.monotonic() + self._stall
        self._closing = True
        self._nudge()
        self._thread.join()

    def abort(self) -> None:
        """Hang up at once; whoever waits for something is told."""
        self.end(Abandoned(f"the transfer with {self._peer} was called off"))
        self._thread.join()

    def end(self, error: CheckpointHealError) -> None:
        """Let all that is under way fail, with the error that came first."""
        with self._lock:
            self._error = self._error or error
            for moving in (self._writing, self._filling, *self._outgoing, *self._incoming):
                if moving is not None:
                    moving.finish(self._error)
            self._outgoing.clear()
            self._incoming.clear()
        self._nudge()

    def _start(self, queue: "deque[Moving]", buffer: torch.Tensor) -> "Moving":
        moving = Moving(self, buffer)
        with self._lock:
            if self._error is not None:
                raise again(self._error)
            if self._left and queue is self._incoming:
                raise self._left_early()
            queue.append(moving)
        self._nudge()
        return moving

    def _nudge(self) -> None:
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        try:
            self._follow()
        except CheckpointHealError as error:
            self.end(error)
        except OSError as error:
            self.end(PeerLost(f"the connection to {self._peer} is gone: {error.strerror or type(error).__name__}"))
        finally:
            self._connection.close()
            self.end(PeerLost("this end of the channel was closed"))
            with self._lock:
                os.close(self._wake)
                self._wake = -1

    def _follow(self) -> None:
        heard = beaten = time.monotonic()
        while self._error is None:
            went, came = self._write(), self._read()
            now = time.monotonic()
            if came or self._left or self._in.announced is not None:
                heard = now
            if self._closing and (now > self._until or (self._out.idle and not self._outgoing)):
                self._leave()
                return
            # The socket is asked before the clock: who was stopped itself must not blame the peer.
            if now - heard > self._stall:
                raise Overdue(f"{self._peer} has not been heard for {self._stall:.1f} s")
            if now - beaten >= self._stall / BEATS and self._out.idle:
                self._out.put(framed.ALIVE)
                beaten = now
            elif not went and not came:
                self._sleep(self._stall / BEATS)

    def _write(self) -> int:
        if self._writing is None and self._out.idle:
            self._writing = self._next(self._outgoing)
            if self._writing is not None:
                self._out.put(framed.MESSAGE, self._writing.view)
        went = self._out.push()
        if self._writing is not None and self._out.idle:
            self._writing.finish(None)
            self._writing = None
        return went

    def _read(self) -> int:
        """How far it came, in bytes; a room that was made for what was announced is as good as a byte."""
        came = self._in.pull()
        if self._in.ended and not self._left:
            raise PeerLost(f"{self._peer} hung up in the middle: its process is gone")
        if (announced := self._in.announced) is not None:
            came += self._arrange(*announced)
        if self._filling is not None and self._in.whole:
            self._filling.finish(None)
            self._filling = None
            self._in.next()
        return came

    def _arrange(self, kind: int, length: int) -> bool:
        """Whether what was announced can come now."""
        if kind == framed.MESSAGE:
            return self._make_room(length)
        if length or kind not in (framed.ALIVE, framed.BYE):
            raise BadFrame(f"{self._peer} says something that is no message: kind {kind} of {length} bytes")
        self._in.next()
        if kind == framed.BYE:
            with self._lock:
                self._left = True
                for moving in self._incoming:
                    moving.finish(self._left_early())
                self._incoming.clear()
        return True

    def _make_room(self, length: int) -> bool:
        self._filling = self._next(self._incoming)
        if self._filling is None:
            return False
        if len(self._filling.view) != length:
            raise PeerLost(f"{length} bytes came from {self._peer} where {len(self._filling.view)} were due")
        self._in.fill(self._filling.view)
        return True

    def _next(self, queue: "deque[Moving]") -> "Moving | None":
        with self._lock:
            return queue.popleft() if queue and self._error is None else None

    def _left_early(self) -> PeerLost:
        return PeerLost(f"{self._peer} left before this side was done")

    def _leave(self) -> None:
        """Say goodbye, and hear the peer out: unread words would make the system throw away what was sent."""
        self._out.put(framed.BYE)
        while not self._out.idle and time.monotonic() < self._until:
            if not self._out.push():
                self._sleep(self._until - time.monotonic())
        self._connection.shutdown(socket.SHUT_WR)
        while not self._left and (left := self._until - time.monotonic()) > 0:
            if _called(left, (self._connection.fileno(), select.POLLIN)) and not self._connection.recv(_HEARD_OUT):
                return

    def _sleep(self, seconds: float) -> None:
        """Until something can move, or somebody wants it to."""
        hears = self._in.announced is None and not self._in.ended
        wanted = (select.POLLIN if hears else 0) | (0 if self._out.idle else select.POLLOUT)
        # With nothing wanted of the connection, its end would still be told, again and again.
        moves = [(self._connection.fileno(), wanted)] if wanted else []
        _called(seconds, (self._wake, select.POLLIN), *moves)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)


class Moving:
    """One message on its way."""

    def __init__(self, stream: Stream, buffer: torch.Tensor) -> None:
        self._stream, self._over = stream, threading.Event()
        self.view = buffer.numpy().data
        self.error: CheckpointHealError | None = None

    @property
    def over(self) -> bool:
        """Whether it has arrived, gone, or failed."""
        return self._over.is_set()

    def finish(self, error: CheckpointHealError | None) -> None:
        """It is over; what comes later changes nothing."""
        if not self._over.is_set():
            self.error = error
            self._over.set()

    def wait(self, seconds: float | None) -> None:
        """Until it is over; None: as long as it takes. Raises what ended it; after Overdue the stream is at its end."""
        if not self._over.wait(None if seconds is None else max(seconds, 0)):
            self._stream.end(Overdue(f"nothing came or went for {seconds:.1f} s"))
        if self.error is not None:
            raise again(self.error)


def _called(seconds: float, *watched: tuple[int, int]) -> bool:
    """Whether any of these descriptors does what is watched for, within the time."""
    events = select.poll()
    for descriptor, wanted in watched:
        events.register(descriptor, wanted)
    return bool(events.poll(min(max(seconds, 0), FOR_GOOD) * 1000))


def again(error: CheckpointHealError) -> CheckpointHealError:
    """The same error for one more who waits: each raises its own."""
    return type(error)(*error.args)
