"""What is tried of a stream: the other end of its connection says any bytes.

Whoever waits gets exactly the message that was said, or an error of ours, and the thread ends.
"""

import socket
import struct
from collections.abc import Iterator, Mapping, Sequence

import torch

from checkpointheal.channel import framed
from checkpointheal.channel.stream import Moving, Stream
from checkpointheal.errors import CheckpointHealError, Overdue
from fuzz import mutations, scripts
from fuzz.outcomes import SECONDS, Aim, WrongOutcome, require

MOST = 1 << 12
"""Bytes of the longest message that is waited for."""
_HEAD = struct.Struct("<BQ")


def stream(raw: bytes) -> None:
    """Lengths that are waited for, 2 bytes each; the other messages of the script are what is said, as it stands."""
    lengths, *said = [*scripts.unpack(raw), b""]
    due = [int.from_bytes(lengths[at : at + 2], "little") % MOST for at in range(0, len(lengths), 2)][:32]
    here, there = socket.socketpair()
    ours = Stream(_Local(fileno=here.detach()), SECONDS)
    rooms = [torch.zeros(length, dtype=torch.uint8) for length in due]
    waiting = [ours.receive(room) for room in rooms]
    with there:
        _say(there, said)
    found = [room.numpy().tobytes() for room, moving in zip(rooms, waiting, strict=False) if _came(moving)]
    require(found == list(_expected(b"".join(said), due)))
    ours.abort()  # ends with its thread


class _Local(socket.socket):
    """A connection inside of this process, which takes none of the machine's ports."""

    def setsockopt(self, *_option: object) -> None:
        """What TCP alone has."""


def _say(there: socket.socket, said: Sequence[bytes]) -> None:
    """Until the other end has heard enough."""
    there.settimeout(SECONDS)
    try:
        for each in said:
            there.sendall(each)
    except (BrokenPipeError, ConnectionResetError):
        pass
    except TimeoutError:
        raise WrongOutcome("nobody reads, and nobody has hung up") from None


def _came(moving: Moving) -> bool:
    try:
        moving.wait(2 * SECONDS)
    except Overdue:
        raise WrongOutcome("a wait took longer than the peer was there") from None
    except CheckpointHealError:
        return False
    return True


def _expected(said: bytes, due: Sequence[int]) -> Iterator[bytes]:
    """What the stream of docs/wire.md brings, up to the first fault."""
    at, left = 0, list(due)
    while left and at + _HEAD.size <= len(said):
        kind, length = _HEAD.unpack_from(said, at)
        at += _HEAD.size
        if kind == framed.ALIVE and length == 0:
            continue
        if kind != framed.MESSAGE or length != left.pop(0) or at + length > len(said):
            return
        yield said[at : at + length]
        at += length


def _conversations() -> list[bytes]:
    def said(*messages: bytes) -> bytes:
        return scripts.pack(
            [
                b"".join(len(each).to_bytes(2, "little") for each in messages),
                *(_HEAD.pack(framed.MESSAGE, len(each)) + each + _HEAD.pack(framed.ALIVE, 0) for each in messages),
                _HEAD.pack(framed.BYE, 0),
            ]
        )

    return [said(b"one", b"", b"three"), said(*[bytes([number]) * number for number in range(1, 9)]), said()]


AIMS: Mapping[str, Aim] = {"stream": Aim(stream, _conversations, mutations.conversation)}
