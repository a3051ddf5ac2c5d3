"""How is a wait given up without giving up the channel?

After a wait that timed out gloo closes every way of the group, to all ranks. So a thread waits for the peer as long as
it takes, and who asked waits for the thread as long as it likes. What is given up stays under way: nothing new may be
said to that peer before it is over. Must not know what the bytes mean.
"""

import contextlib
import threading
from collections import deque

import torch

from checkpointheal import wire
from checkpointheal.channel import at_exit
from checkpointheal.channel.channel import FOR_GOOD, Channel, Pending, send_frame
from checkpointheal.errors import CheckpointHealError, Overdue, WorldFailed

_WHOEVER = -1
"""No error names the peer of a last word."""


class Patient:
    """A channel to one rank whose waits end by our own clock."""

    def __init__(self, channel: Channel, peer: int) -> None:
        self._channel, self._peer = channel, peer
        self._lock = threading.Lock()
        self._owed: deque[Owed] = deque()
        self._lost: CheckpointHealError | None = None
        self._thread: threading.Thread | None = None

    def send(self, buffer: torch.Tensor) -> "Owed":
        """Start sending. Raises PeerLost."""
        return self._await(self._channel.send(buffer))

    def receive(self, into: torch.Tensor) -> "Owed":
        """Start receiving. Raises PeerLost."""
        return self._await(self._channel.receive(into))

    def lose(self, error: CheckpointHealError) -> None:
        """The peer is known to be gone: whoever waits for it, or will, is told."""
        with self._lock:
            self._lost = error
            for owed in self._owed:
                owed.end(error)

    def close(self) -> None:
        """Hang up, where the channel belongs to the transfer alone."""
        self._channel.close()

    def end(self) -> None:
        """Let what is still waited for fail, as the channel knows it: by a timeout, which may end the whole group."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            at_exit.end(self._channel, thread)

    def _await(self, pending: Pending) -> "Owed":
        owed = Owed(pending, self._peer)
        with self._lock:
            self._owed.append(owed)
            if self._lost is not None:
                owed.end(self._lost)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="checkpointheal-patient")
                self._thread.start()
                at_exit.register(self)
        return owed

    def _run(self) -> None:
        """One after the other, until nothing is owed: what was begun later is over later, or it fails as well."""
        while (owed := self._next()) is not None:
            owed.finish()
            with self._lock:
                self._owed.popleft()

    def _next(self) -> "Owed | None":
        with self._lock:
            if self._owed:
                return self._owed[0]
            self._thread = None
            return None


class Owed:
    """Bytes on their way, waited for by the thread."""

    def __init__(self, pending: Pending, peer: int) -> None:
        self._pending, self._peer = pending, peer
        self._error: BaseException | None = None
        self._over = threading.Event()

    def finish(self) -> None:
        """In the thread: wait for as long as it takes."""
        try:
            self._pending.wait(FOR_GOOD)
        except BaseException as error:  # the outermost of this thread: whoever waits raises it
            self.end(error)
        self._over.set()

    def end(self, error: BaseException) -> None:
        """This is its outcome, if there is none yet."""
        if not self._over.is_set():
            self._error = error
            self._over.set()

    def wait(self, seconds: float) -> None:
        """Until it is over. Raises Overdue, after which it is still under way, or PeerLost."""
        if not self._over.wait(max(0.0, seconds)):
            raise Overdue(f"nothing came from or went to rank {self._peer} for {seconds:.1f} s")
        if self._error is not None:
            raise self._error


def tell(channel: Channel, frame: wire.Frame, seconds: float, version: int = wire.FIRST) -> None:
    """Say the last word. Nothing depends on it here: a peer that is gone, or does not listen, need not hear it.

    One that does not listen yet hears it later: to give up waiting costs no group.
    """
    patient = channel if isinstance(channel, Patient) else Patient(channel, _WHOEVER)
    with contextlib.suppress(WorldFailed):
        send_frame(patient, frame, seconds, version)
