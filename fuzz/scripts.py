"""How does one run of bytes stand for all the messages of a peer, and how are its lies made consistent?

4 bytes little-endian, the length of a message; the message; and so on. What is too short is the last message.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Sequence

from pydantic import ValidationError

from checkpointheal import digest, wire
from checkpointheal.contract.layout import Manifest

_LENGTH = struct.Struct("<I")
_CHUNKS = 64


def pack(messages: Iterable[bytes]) -> bytes:
    """One script of these messages."""
    return b"".join(_LENGTH.pack(len(message)) + message for message in messages)


def unpack(script: bytes) -> Iterator[bytes]:
    """Its messages; every script has some."""
    at = 0
    while at + _LENGTH.size <= len(script):
        (length,) = _LENGTH.unpack_from(script, at)
        at += _LENGTH.size
        yield script[at : at + length]
        at += length


def framed(*frames: wire.Frame) -> list[bytes]:
    """Prefix and header of each: two messages."""
    raws = [wire.encode(frame) for frame in frames]
    return [part for raw in raws for part in (raw[: wire.PREFIX_BYTES], raw[wire.PREFIX_BYTES :])]


def with_lengths(messages: Sequence[bytes]) -> list[bytes]:
    """Every prefix promises the length of the message after it."""
    whole = list(messages)
    for at, message in enumerate(whole[:-1]):
        if len(message) == wire.PREFIX_BYTES and message.startswith(b"CKHW"):
            whole[at] = message[:8] + struct.pack("<Q", len(whole[at + 1]))
    return whole


def signed(messages: Sequence[bytes]) -> list[bytes]:
    """Every offer is true to itself and to the messages after it, whatever else it says."""
    return with_lengths([_sign(message, messages[at + 1 :]) for at, message in enumerate(messages)])


def _sign(message: bytes, after: Sequence[bytes]) -> bytes:
    if not message.startswith(b"{") or b'"manifest"' not in message:
        return message
    try:
        said = json.loads(message)
        manifest = Manifest.model_validate_json(json.dumps(said["manifest"]))
        count = -(-manifest.schema_.data_bytes // int(said["chunk_bytes"]))
        chunks = [digest.digest_bytes(each) for each in [*after, *[b""] * _CHUNKS][: max(0, min(count, _CHUNKS))]]
        schema = digest.schema_digest(manifest.schema_)
        state = digest.state_digest(schema, manifest.values, chunks)
        said["chunks"], said["identity"] = chunks, said["identity"] | {"schema_digest": schema, "state_digest": state}
        return json.dumps(said).encode()
    except (ValidationError, ValueError, TypeError, KeyError, ArithmeticError, RecursionError):
        return message  # no offer, then: it is sent as it is
