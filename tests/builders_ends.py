"""Two ends of a channel in two threads, and states that are nothing but bytes."""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
from torch.distributed import HashStore, ProcessGroupGloo, Store

import builders_arena
import builders_trust
import builders_wire
from checkpointheal import digest
from checkpointheal.channel import Channel, handshake
from checkpointheal.channel.group import GroupChannel
from checkpointheal.channel.loopback import LoopBack
from checkpointheal.channel.secured import Secured
from checkpointheal.channel.stream import Stream
from checkpointheal.channel.stream_group import StreamGroup
from checkpointheal.contract.layout import Manifest
from checkpointheal.contract.trust import pod_host
from checkpointheal.ends import Terms
from checkpointheal.errors import CheckpointHealError
from checkpointheal.session import Expected
from checkpointheal.wire import Offer
from checkpointheal_operator.gateway.authority import Authority

SCHEMA = builders_wire.a_schema(100, 3000, 0, 17)
DATA = builders_arena.pattern(SCHEMA, builders_wire.STEP)
OFFER = builders_wire.an_offer(SCHEMA)
EXPECTED = Expected(builders_wire.HEAL, builders_wire.ATTEMPT, OFFER.identity)
CHUNK = builders_wire.CHUNK


class BytesSource:
    """`DATA`, or what is given instead."""

    def __init__(self, data: bytes = DATA) -> None:
        self._data = bytearray(data)

    @property
    def manifest(self) -> Manifest:
        return OFFER.manifest

    def parts(self, index: int) -> Sequence[torch.Tensor]:
        return [torch.frombuffer(self._data, dtype=torch.uint8)[index * CHUNK :][:CHUNK]]


class BytesSink:
    """Holds what it is told to hold already; refuses and fails on demand."""

    def __init__(
        self, held: bytes = b"", refusal: CheckpointHealError | None = None, failure: CheckpointHealError | None = None
    ) -> None:
        self.data = bytearray(held.ljust(len(DATA), b"\0"))
        self.kept: list[int] = []
        self.prepared = self.sealed = False
        self._refusal, self._failure = refusal, failure

    def prepare(self, offer: Offer) -> Sequence[str]:
        if self._refusal:
            raise self._refusal
        self.prepared = True
        return digest.chunk_digests(self.data, offer.chunk_bytes)

    def places(self, index: int) -> Sequence[torch.Tensor]:
        return [torch.frombuffer(self.data, dtype=torch.uint8)[index * CHUNK :][:CHUNK]]

    def keep(self, index: int) -> None:
        self.kept.append(index)

    def seal(self, offer: Offer) -> None:
        if self._failure:
            raise self._failure
        self.sealed = True


def terms(seconds: float = 20, **changes: Any) -> Terms:
    return Terms(**{"deadline": time.monotonic() + seconds, "stall": seconds, **changes})


def gloo_groups(count: int = 2, seconds: float = 30) -> list[ProcessGroupGloo]:
    """As many ranks as threads of this process."""
    store = HashStore()
    return side_by_side(*[lambda rank=rank: gloo_rank(store, rank, count, seconds) for rank in range(count)])


def gloo_rank(store: Store, rank: int, count: int, seconds: float) -> ProcessGroupGloo:
    """One rank of a group whose ranks meet over the store."""
    options = ProcessGroupGloo._Options()
    options._devices = [ProcessGroupGloo.create_device(hostname="127.0.0.1")]
    options._timeout = timedelta(seconds=seconds)
    return ProcessGroupGloo(store, rank, count, options)


def loopback_pair() -> tuple[Channel, Channel]:
    return LoopBack.pair()


def gloo_pair() -> tuple[Channel, Channel]:
    donor, recipient = gloo_groups()
    return GroupChannel(donor, 1), GroupChannel(recipient, 0)


def connected() -> tuple[socket.socket, socket.socket]:
    """The two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        calling = socket.create_connection(listener.getsockname())
        return listener.accept()[0], calling


def secured() -> tuple[Secured, Secured]:
    """The donor's and the recipient's end of a TLS connection between their agents."""
    authority = Authority.begin((), builders_trust.NOW)
    giving, taking = (builders_trust.credentials(authority, builders_trust.a_holder(each)) for each in (0, 2))
    here, there = connected()
    return tuple(
        side_by_side(
            lambda: handshake.invite(here, giving.server, 20),
            lambda: handshake.visit(there, taking.client, pod_host(giving.holder.pod_uid), 20),
        )
    )


def stream_pair(stall: float = 20) -> tuple[Stream, Stream]:
    donor, recipient = secured()
    return Stream(donor, stall), Stream(recipient, stall)


def stream_group_pair() -> tuple[Channel, Channel]:
    donor, recipient = stream_pair()
    return GroupChannel(StreamGroup(0, 2, {1: donor}), 1), GroupChannel(StreamGroup(1, 2, {0: recipient}), 0)


CHANNELS = {
    "loop-back": loopback_pair,
    "gloo": gloo_pair,
    "stream": stream_pair,
    "group of streams": stream_group_pair,
}


def side_by_side(*acts: Callable[[], Any]) -> list[Any]:
    """Run each in a thread; what it returned, or the error of ours that it raised."""
    outcomes: list[Any] = [None] * len(acts)

    def run(at: int) -> None:
        try:
            outcomes[at] = acts[at]()
        except Exception as error:
            outcomes[at] = error

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not isinstance(outcome, CheckpointHealError):
            raise outcome
    return outcomes
