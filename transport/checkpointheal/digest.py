"""What does 'the same bytes' mean?

XXH3 with 128 bits: it tells accidents apart at memory speed. It is no proof against an adversary; TLS is. Must not know
torch: whatever has a buffer can be digested.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import xxhash
from pydantic import JsonValue

from checkpointheal.contract.base import Digest, Frozen
from checkpointheal.contract.layout import Schema

CHUNK_BYTES = 8 << 20
"""Large enough that a chunk's overhead vanishes, small enough that little crosses twice."""

Buffer = bytes | bytearray | memoryview


def digest_bytes(buffer: Buffer) -> Digest:
    """128 bits over the buffer, in hexadecimal."""
    return xxhash.xxh3_128_hexdigest(buffer)


def digest_parts(parts: Iterable[Buffer]) -> Digest:
    """The same of buffers that follow each other."""
    found = xxhash.xxh3_128()
    for part in parts:
        found.update(part)
    return found.hexdigest()


def chunk_digests(buffer: Buffer, chunk_bytes: int = CHUNK_BYTES) -> tuple[Digest, ...]:
    """One digest for each chunk of a data section, the last of which may be shorter."""
    view = memoryview(buffer).cast("B")
    return tuple(digest_bytes(view[start : start + chunk_bytes]) for start in range(0, len(view), chunk_bytes))


def schema_digest(schema: Schema) -> Digest:
    """What two states must share to hold the same names, shapes, dtypes, strides, ties and containers."""
    told = {name: _dumped(getattr(schema, name)) for name in Schema.model_fields}
    return digest_bytes(_canonical(told))


def state_digest(schema: Digest, values: Sequence[JsonValue], chunks: Sequence[Digest]) -> Digest:
    """Equal for equal states, whoever made them: schema, plain values and the ordered chunk digests."""
    return digest_bytes(_canonical([schema, list(values), list(chunks)]))


def _dumped(field: Any) -> JsonValue:
    """A field as JSON. The tree is JSON already, and the largest of all: it is not walked once more."""
    if isinstance(field, tuple):
        return [_dumped(each) for each in field]
    return field.model_dump() if isinstance(field, Frozen) else field


def _canonical(node: JsonValue) -> bytes:
    return json.dumps(node, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()
