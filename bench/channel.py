"""How fast do a state's chunks cross between two processes of one machine, over TLS and over gloo?

Both cross loop-back, in turns, from a child to this process: what disturbs one disturbs the other. The plain stream,
the same code without TLS, shows what encryption costs. On a network the slower of wire and cipher counts.
"""

import contextlib
import multiprocessing
import shutil
import socket
import ssl
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import torch
from torch.distributed import ProcessGroupGloo, TCPStore

from bench.table import Row, median_ratio
from checkpointheal import digest
from checkpointheal.agent.credentials import OwnKey
from checkpointheal.agent.tls import Papers
from checkpointheal.channel import Channel, handshake
from checkpointheal.channel.group import GroupChannel
from checkpointheal.channel.secured import Secured
from checkpointheal.channel.stream import Stream
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.trust import Holder, Issued, pod_host
from checkpointheal.ends import WINDOW
from checkpointheal_operator.gateway.authority import Authority

CHUNKS, ROUNDS, SECONDS = 128, 7, 60.0
SECURED_SHARE = 0.6
"""Of the plain stream's rate, over TLS."""
CIPHER, RECORD_BYTES = "aes-256-gcm", 1 << 14
"""What OpenSSL prefers, and Python cannot have otherwise; the most of a TLS record."""
_AUTHORITY = Authority.begin((), time.time() - 60)
_KEPT: list[Any] = []
"""Stores that a group may still ask."""


def rows() -> list[Row]:
    """Rates of each channel, and the ratios to gloo's."""
    shown = papers(0), papers(1)
    taken: dict[str, list[float]] = {"gloo": [], "stream": [], "tls": []}
    for _ in range(ROUNDS):
        for kind, seconds in taken.items():
            seconds.append(_round(kind, shown))
    size = CHUNKS * digest.CHUNK_BYTES / 1e9
    rates = [Row(f"{kind}, best of {ROUNDS}", size / min(seconds), "GB/s") for kind, seconds in taken.items()]
    ratios = [
        Row(
            f"time over {kind} to time over gloo",
            median_ratio(list(zip(taken[kind], taken["gloo"], strict=True))),
            "",
            None,
            f"median of {ROUNDS} pairs",
        )
        for kind in ("stream", "tls")
    ]
    secured = median_ratio(list(zip(taken["tls"], taken["stream"], strict=True)))
    note = f"median of {ROUNDS} pairs; {ssl.OPENSSL_VERSION}"
    promised = Row("time over tls to time over stream", secured, "", 1 / SECURED_SHARE, note)
    return [*rates, *ratios, promised, *_limit(size / min(taken["stream"]))]


def _limit(stream: float) -> list[Row]:
    """What the ratio cannot be below while one core of each side copies and ciphers; `stream`: GB/s without TLS."""
    if shutil.which("openssl") is None:
        return []
    command = ["openssl", "speed", "-mr", "-seconds", "2", "-bytes", str(RECORD_BYTES), "-evp", CIPHER]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cipher = float(told.splitlines()[-1].rpartition(":")[2]) / 1e9
    return [
        Row(f"{CIPHER} alone, one core", cipher, "GB/s", None, "openssl speed"),
        Row("least that time over tls to time over stream can be", 1 + stream / cipher, "", None, "copy, then cipher"),
    ]


def _round(kind: str, shown: tuple[Papers, Papers]) -> float:
    """Seconds for all chunks."""
    context = multiprocessing.get_context("fork")
    ours, theirs = socket.socketpair()
    child = context.Process(target=_give, args=(kind, shown[0], theirs))
    child.start()
    try:
        with _channel(kind, shown[1], ours, 1) as channel:
            places = [torch.zeros(digest.CHUNK_BYTES, dtype=torch.uint8) for _ in range(WINDOW)]
            begun = time.perf_counter()
            _all(channel.receive, places)
            return time.perf_counter() - begun
    finally:
        child.join()
        ours.close()
        theirs.close()


def _give(kind: str, shown: Papers, pipe: socket.socket) -> None:
    chunks = [torch.randint(0, 256, (digest.CHUNK_BYTES,), dtype=torch.uint8) for _ in range(WINDOW)]
    with _channel(kind, shown, pipe, 0) as channel:
        _all(channel.send, chunks)


def _all(start: Callable[[torch.Tensor], Any], buffers: list[torch.Tensor]) -> None:
    flying: deque[Any] = deque()
    for number in range(CHUNKS):
        if len(flying) == WINDOW:
            flying.popleft().wait(SECONDS)
        flying.append(start(buffers[number % WINDOW]))
    for pending in flying:
        pending.wait(SECONDS)


@contextlib.contextmanager
def _channel(kind: str, shown: Papers, pipe: socket.socket, rank: int) -> Iterator[Channel]:
    torch.set_num_threads(1)
    if kind == "gloo":
        yield GroupChannel(gloo(pipe, rank), 1 - rank)
        return
    connection = connected(pipe, rank)
    stream = Stream(_secured(connection, shown, rank) if kind == "tls" else connection, SECONDS)
    yield stream
    stream.close()


def gloo(pipe: socket.socket, rank: int) -> Any:
    """A group of two, bound to the loop-back. `pipe` brings the port of its store from rank 1 to rank 0."""
    options = ProcessGroupGloo._Options()  # noqa: SLF001 torch gives no other way to bind gloo to an address
    options._devices = [ProcessGroupGloo.create_device(hostname="127.0.0.1")]  # noqa: SLF001
    options._timeout = timedelta(seconds=SECONDS)  # noqa: SLF001
    if rank == 1:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, use_libuv=False)
        pipe.sendall(port.to_bytes(2, "little"))
    else:
        port = int.from_bytes(pipe.recv(2), "little")
        store = TCPStore("127.0.0.1", port, is_master=False, use_libuv=False)
    group = ProcessGroupGloo(store, rank, 2, options)
    _KEPT.append(store)
    return group


def connected(pipe: socket.socket, rank: int) -> socket.socket:
    """A plain connection between the two. `pipe` brings its port."""
    if rank == 1:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            pipe.sendall(listener.getsockname()[1].to_bytes(2, "little"))
            return listener.accept()[0]
    return socket.create_connection(("127.0.0.1", int.from_bytes(pipe.recv(2), "little")))


def _secured(connection: socket.socket, shown: Papers, rank: int) -> Secured:
    if rank == 1:
        return handshake.invite(connection, shown.server(), SECONDS)
    return handshake.visit(connection, shown.client(), pod_host("uid-1"), SECONDS)


def papers(rank: int) -> Papers:
    """What this rank shows, and whom it believes."""
    holder = Holder(job="bench", member=MemberId(replica=rank), pod_uid=f"uid-{rank}")
    key = OwnKey.new()
    issued = _AUTHORITY.issue(key.csr, holder, "127.0.0.1", time.time())
    if not isinstance(issued, Issued):
        raise TypeError(f"no certificate: {issued}")
    return key.with_certificate(issued).papers
