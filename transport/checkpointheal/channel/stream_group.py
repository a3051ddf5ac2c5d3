"""How do streams look as a process group of torch's?

Point-to-point only: no collective is needed to move a state. `register` makes it a backend of c10d, whose ranks meet
over the store and know each other by certificates. Must not know agents, and keeps to what torch 2.6 has.
"""

import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import torch
from torch.distributed import DistStoreError, ProcessGroup, Store  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import Backend, Work

from checkpointheal.channel.handshake import invite, names, shown, visit
from checkpointheal.channel.own_address import listen_at
from checkpointheal.channel.secured import Secured
from checkpointheal.channel.stream import Moving, Stream
from checkpointheal.errors import CheckpointHealError, Misuse, Overdue, PeerLost

NAME = "checkpointheal"
GUEST_SECONDS = 5.0
_SHORTEST = 0.001
"""Seconds that a store counts; fewer would be none, which means without a limit."""
_RANK = struct.Struct("<I")


class StreamGroup(ProcessGroup):
    """A stream to each other rank. Messages arrive in the order in which they were sent, whatever their tags."""

    def __init__(self, rank: int, size: int, streams: Mapping[int, Stream]) -> None:
        super().__init__(rank, size)
        self._streams = dict(streams)

    def getBackendName(self) -> str:  # noqa: N802 torch calls it so
        """What torch shows."""
        return NAME

    def send(self, tensors: list[torch.Tensor], peer: int, tag: int = 0) -> "StreamWork":
        """Start sending. Raises PeerLost."""
        del tag
        return StreamWork([self._streams[peer].send(_bytes(each)) for each in tensors])

    def recv(self, tensors: list[torch.Tensor], peer: int, tag: int = 0) -> "StreamWork":
        """Start receiving. Raises PeerLost."""
        del tag
        return StreamWork([self._streams[peer].receive(_bytes(each)) for each in tensors])

    def abort(self) -> None:
        """End everything at once; whoever waits is told."""
        for stream in self._streams.values():
            stream.abort()

    def shutdown(self) -> None:
        """Hang up; what was sent before still arrives."""
        for stream in self._streams.values():
            stream.close()


class StreamWork(Work):
    """The messages of one call."""

    def __init__(self, moving: list[Moving]) -> None:
        super().__init__()
        self._moving = moving

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Until all are over; None or 0: as long as it takes. Raises Overdue, PeerLost, or what else ended them."""
        seconds = timeout.total_seconds() if timeout else None
        end = time.monotonic() + (seconds or 0)
        for each in self._moving:
            each.wait(None if seconds is None else end - time.monotonic())
        return True

    def is_completed(self) -> bool:
        """Whether there is nothing left to wait for."""
        return all(each.over for each in self._moving)

    def is_success(self) -> bool:
        """Whether all arrived or went."""
        return self.is_completed() and all(each.error is None for each in self._moving)


@dataclass(frozen=True)
class Trust:
    """Whom the ranks of a group believe, and where each of them listens."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    name: Callable[[int], str]
    """The DNS name that a rank's certificate bears."""
    host: str = "127.0.0.1"
    port: int = 0
    stall: float = 30.0


def register(trust: Trust, name: str = NAME) -> None:
    """From now on torch makes such groups: `init_process_group(NAME, ...)`, `new_group(backend=NAME)`."""
    Backend.register_backend(name, partial(meet, trust), devices=["cpu"])


def meet(trust: Trust, store: Store, rank: int, size: int, timeout: timedelta) -> StreamGroup:
    """Connect every rank with every other one. Raises Overdue, PeerLost or UntrustedPeer."""
    end = time.monotonic() + timeout.total_seconds()
    streams: dict[int, Stream] = {}
    try:
        with listen_at(trust.host, trust.port) as listener:
            store.set(f"at/{rank}", f"{listener.getsockname()[1]} {trust.host}")
            for peer in range(rank):
                streams[peer] = _call(trust, store, rank, peer, end)
            while len(streams) < size - 1:
                peer, stream = _hear(trust, listener, rank, end)
                streams[peer] = stream
    except BaseException:  # an interrupt too, and whatever the store raises
        for stream in streams.values():
            stream.abort()
        raise
    return StreamGroup(rank, size, streams)


def _call(trust: Trust, store: Store, rank: int, peer: int, end: float) -> Stream:
    port, host = _read(store, f"at/{peer}", end).split()
    name = trust.name(peer)
    with ExitStack() as unless_met:
        try:
            connection = socket.create_connection((host, int(port)), _left(end))
            secured = visit(connection, trust.client, name, _left(end))
            unless_met.callback(secured.close)
            secured.sendall(_RANK.pack(rank))
        except OSError as error:
            raise PeerLost(f"rank {peer} at {host} does not answer: {error.strerror or error}") from error
        unless_met.pop_all()
    return Stream(secured, trust.stall, f"rank {peer}")


def _read(store: Store, key: str, end: float) -> str:
    """What a rank says there, once it does: a store's `get` has a timeout of its own."""
    try:
        store.wait([key], timedelta(seconds=max(_left(end), _SHORTEST)))
    except DistStoreError as error:
        raise _late() from error
    except RuntimeError:  # as a FileStore's
        _left(end)
        raise
    return store.get(key).decode()


def _hear(trust: Trust, listener: socket.socket, rank: int, end: float) -> tuple[int, Stream]:
    """The next rank that comes; whoever is none is sent away."""
    while True:
        listener.settimeout(_left(end))
        try:
            guest, _ = listener.accept()
            secured = invite(guest, trust.server, min(GUEST_SECONDS, _left(end)))
        except TimeoutError:
            raise _late() from None
        except CheckpointHealError:
            continue
        with ExitStack() as unless_met:
            unless_met.callback(secured.close)
            peer = _who(trust, secured)
            if peer is not None and peer > rank:
                unless_met.pop_all()
                return peer, Stream(secured, trust.stall, f"rank {peer}")


def _who(trust: Trust, guest: Secured) -> int | None:
    """The rank that it says it is, if its certificate says so too."""
    try:
        told = guest.recv(_RANK.size)
    except OSError:
        return None
    if len(told) != _RANK.size:
        return None
    (rank,) = _RANK.unpack(told)
    return int(rank) if trust.name(rank) in names(shown(guest), "DNS") else None


def _left(end: float) -> float:
    if (left := end - time.monotonic()) <= 0:
        raise _late()
    return left


def _late() -> Overdue:
    return Overdue("not every rank of the group came in time")


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_contiguous() or tensor.device.type != "cpu":
        raise Misuse("a stream carries contiguous tensors in CPU memory alone: stage others")
    return tensor.detach().reshape(-1).view(torch.uint8)
