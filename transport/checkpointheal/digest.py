"""What does 'the same bytes' mean?

XXH3 with 128 bits: it tells accidents apart at memory speed. It is no proof against an adversary; TLS is. Must not know
torch: whatever has a buffer can be digested.
"""

import json
from collections.abc import Iterable, Sequence

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
    written = {
        "data_bytes": _canonical(schema.data_bytes),
        "forms": _canonical([form.model_dump(mode="json") for form in schema.forms]),
        "regions": _columns(schema.regions),
        "tensors": _columns(schema.tensors),
        "tree": _canonical(schema.tree),
        "value_paths": _canonical(list(schema.value_paths)),
    }
    return digest_bytes(b"{%s}" % b",".join(b'"%s":%s' % (name.encode(), text) for name, text in written.items()))


def state_digest(schema: Digest, values: Sequence[JsonValue], chunks: Sequence[Digest]) -> Digest:
    """Equal for equal states, whoever made them: schema, plain values and the ordered chunk digests."""
    return digest_bytes(_canonical([schema, list(values), list(chunks)]))


def _columns(columns: Frozen) -> bytes:
    """The same as canonical JSON, and many times as fast where there are only plain characters in it."""
    written = columns.model_dump_json().encode()
    plain = written.isascii() and b"\x7f" not in written
    return written if plain else _canonical(columns.model_dump(mode="json"))


def _canonical(node: JsonValue) -> bytes:
    return json.dumps(node, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()
