"""What must a channel be able to do?

Three verbs. Transfers are started and waited for apart, so that several are in flight; the peer starts as many, of the
same lengths, in the same order. Must not know what the bytes mean, beyond the frames that are sent over every channel
alike.
"""

from typing import Protocol

import torch

from checkpointheal import wire

FOR_GOOD = 2e6
"""Seconds: 23 days, the longest that every channel takes. In milliseconds it has to fit into 31 bits, for `poll`."""


class Pending(Protocol):
    """Bytes on their way."""

    def wait(self, seconds: float) -> None:
        """Until they are sent, or here. Raises Overdue or PeerLost; the channel is then good for nothing more."""
        ...


class Channel(Protocol):
    """A way to one peer. Buffers are 1-D uint8 tensors in CPU memory, untouched until their Pending is over."""

    def send(self, buffer: torch.Tensor) -> Pending:
        """Start sending. Raises PeerLost."""
        ...

    def receive(self, into: torch.Tensor) -> Pending:
        """Start receiving exactly as many bytes as `into` has. Raises PeerLost."""
        ...

    def close(self) -> None:
        """Hang up: nothing more is said here. What the channel goes over, and is another's, stays."""
        ...


def send_frame(channel: Channel, frame: wire.Frame, seconds: float, version: int = wire.FIRST) -> None:
    """Prefix and header, one after the other, in the version that both speak; before one is agreed, in the first."""
    for pending in post_frame(channel, frame, version):
        pending.wait(seconds)


def post_frame(channel: Channel, frame: wire.Frame, version: int = wire.FIRST) -> list[Pending]:
    """Start sending prefix and header. Who posts one frame after the other waits for them in that order."""
    raw = torch.frombuffer(bytearray(wire.encode(frame, version)), dtype=torch.uint8)
    parts = [part for part in (raw[: wire.PREFIX_BYTES], raw[wire.PREFIX_BYTES :]) if part.numel()]
    return [channel.send(part) for part in parts]


def receive_frame(channel: Channel, seconds: float) -> wire.Frame:
    """The next frame. Raises BadFrame or UnknownVersion, with nothing allocated beyond the limit of the wire."""
    return receive_answer(channel, seconds)[0]


def receive_answer(channel: Channel, seconds: float) -> tuple[wire.Frame, int]:
    """The same, and the version that it is written in, which is spoken from then on."""
    prefix = wire.parse_prefix(_receive(channel, wire.PREFIX_BYTES, seconds))
    return wire.parse(prefix, _receive(channel, prefix.length, seconds)), prefix.version


def _receive(channel: Channel, count: int, seconds: float) -> bytes:
    # Zeros: a process group lets a message end early without a word.
    buffer = torch.zeros(count, dtype=torch.uint8, device="cpu")
    if count:
        channel.receive(buffer).wait(seconds)
    return buffer.numpy().tobytes()
