"""By what means does a state dict come from one process to the other? Each way is a pair of functions.

`give` returns once the other side has it or could have it; `take` returns what came. A way that lacks a library here is
absent. Must not know how it is timed.
"""

import contextlib
import shutil
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint._pg_transport import PGTransport as Theirs

from bench.counting import Counting
from bench.transfer.states import State, distinct
from checkpointheal import PGTransport

SECONDS = timedelta(seconds=300)
CPU = torch.device("cpu")


class Link(NamedTuple):
    """What both sides have in common."""

    group: Any
    connection: socket.socket
    words: socket.socket
    folder: Path
    peer: int


class Way(NamedTuple):
    """How to give and take; `in_place` ones take into the target."""

    give: Callable[[Link, State], object]
    take: Callable[[Link, State], object]


def _ours(link: Link, target: State | None) -> object:
    return PGTransport(link.group, SECONDS, CPU, _callback(target)).recv_checkpoint(link.peer)


def _theirs(link: Link, target: State | None) -> object:
    return Theirs(link.group, SECONDS, CPU, _callback(target)).recv_checkpoint(link.peer)


def _callback(target: State | None) -> Callable[[], State] | None:
    return None if target is None else lambda: target


def _into(take: Callable[[Link, State | None], object], *, in_place: bool) -> Callable[[Link, State], object]:
    return lambda link, target: take(link, target if in_place else None)


def _gloo_give(link: Link, state: State) -> None:
    for tensor in distinct(state):
        link.group.send([tensor], link.peer, 7).wait()


def _gloo_take(link: Link, target: State | None, like: State | None = None) -> object:
    places = distinct(target) if target is not None else [torch.empty_like(each) for each in distinct(like or {})]
    for tensor in places:
        link.group.recv([tensor], link.peer, 7).wait()
    return places


def _tcp_give(link: Link, state: State) -> None:
    for tensor in distinct(state):
        link.connection.sendall(_bytes(tensor))


def _tcp_take(link: Link, target: State) -> object:
    places = [torch.empty_like(each) for each in distinct(target)]
    for tensor in places:
        whole, got = _bytes(tensor), 0
        while got < len(whole):
            got += link.connection.recv_into(whole[got:])
    return places


def _file_give(link: Link, state: State) -> None:
    torch.save(state, link.folder / "state.pt")
    link.words.sendall(b"!")


def _file_take(link: Link, target: State) -> object:
    del target
    link.words.recv(1)
    return torch.load(link.folder / "state.pt", weights_only=True)


def _dcp_give(link: Link, state: State) -> None:
    shutil.rmtree(link.folder / "dcp", ignore_errors=True)
    dcp.save(state, checkpoint_id=link.folder / "dcp", no_dist=True)
    link.words.sendall(b"!")


def _dcp_take(link: Link, target: State) -> object:
    link.words.recv(1)
    dcp.load(target, checkpoint_id=link.folder / "dcp", no_dist=True)
    return target


def _copied(target: State, *, in_place: bool) -> object:
    places = distinct(target) if in_place else [torch.empty_like(each) for each in distinct(target)]
    for place, tensor in zip(places, distinct(target), strict=True):
        place.copy_(_other(tensor))
    return places


_spare: dict[tuple[torch.Size, torch.dtype], torch.Tensor] = {}


def _other(tensor: torch.Tensor) -> torch.Tensor:
    """Other memory of the same size, touched before."""
    key = (tensor.shape, tensor.dtype)
    if key not in _spare:
        _spare[key] = torch.ones_like(tensor)
    return _spare[key]


def _bytes(tensor: torch.Tensor) -> memoryview:
    return memoryview(tensor.view(torch.uint8).reshape(-1).numpy()).cast("B")


def _give_ours(link: Link, state: State) -> None:
    PGTransport(link.group, SECONDS, CPU).send_checkpoint([link.peer], state)


def _give_theirs(link: Link, state: State) -> None:
    Theirs(link.group, SECONDS, CPU).send_checkpoint([link.peer], state)


def give_counted(link: Link, state: State) -> None:
    """Ours, and then how many bytes that sent."""
    counting = Counting(link.group)
    PGTransport(counting, SECONDS, CPU).send_checkpoint([link.peer], state)  # type: ignore[arg-type] of its methods
    link.words.sendall(counting.sent.to_bytes(8, "big"))


def take_counted(link: Link) -> int:
    """Bytes that the giver sent."""
    _ours(link, None)
    return int.from_bytes(link.words.recv(8), "big")


WAYS: dict[str, Way] = {
    "ours": Way(_give_ours, _into(_ours, in_place=False)),
    "ours, in place": Way(_give_ours, _into(_ours, in_place=True)),
    "PyTorch's": Way(_give_theirs, _into(_theirs, in_place=False)),
    "PyTorch's, in place": Way(_give_theirs, _into(_theirs, in_place=True)),
    "torch.save and load": Way(_file_give, _file_take),
    "dcp.save and load": Way(_dcp_give, _dcp_take),
    "gloo": Way(_gloo_give, lambda link, target: _gloo_take(link, None, target)),
    "gloo, in place": Way(_gloo_give, _gloo_take),
    "TCP": Way(_tcp_give, _tcp_take),
    "memcpy": Way(lambda _link, _state: None, lambda _link, target: _copied(target, in_place=False)),
    "memcpy, in place": Way(lambda _link, _state: None, lambda _link, target: _copied(target, in_place=True)),
}


def _torchft() -> Mapping[str, Way]:
    """Its two transports, where it is installed."""
    from torchft.checkpointing.http_transport import HTTPTransport  # noqa: PLC0415 it may be absent
    from torchft.checkpointing.pg_transport import PGTransport as Torchfts  # noqa: PLC0415

    def give(link: Link, state: State) -> None:
        Torchfts(link.group, SECONDS, CPU).send_checkpoint([link.peer], 1, state, SECONDS)

    def take(link: Link, target: State | None) -> object:
        door = Torchfts(link.group, SECONDS, CPU, _callback(target))
        return door.recv_checkpoint(link.peer, "<n/a>", 1, SECONDS)

    def serve(link: Link, state: State) -> None:
        door = HTTPTransport(SECONDS, num_chunks=0)
        door.send_checkpoint([link.peer], 1, state, SECONDS)
        port = door.metadata().rpartition(":")[2].partition("/")[0]
        link.words.sendall(f"http://127.0.0.1:{port}/checkpoint/\n".encode())
        link.words.recv(1)
        door.disallow_checkpoint()
        door.shutdown()

    def fetch(link: Link, target: State) -> object:
        del target
        address = link.words.recv(1 << 10).decode().strip()
        state = HTTPTransport._load_from_address(f"{address}1/full", SECONDS)  # noqa: SLF001 another one would listen too
        link.words.sendall(b"!")
        return state

    return {
        "torchft's": Way(give, _into(take, in_place=False)),
        "torchft's, in place": Way(give, _into(take, in_place=True)),
        "torchft's HTTP": Way(serve, fetch),
    }


with contextlib.suppress(ImportError):
    WAYS |= _torchft()
