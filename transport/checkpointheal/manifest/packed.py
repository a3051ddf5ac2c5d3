"""How does a small state travel as one blob?

A fixed prefix, a JSON manifest with the digest of what follows, the data section. For private parts, which are kept by
others as they are; big states go chunk by chunk instead.
"""

import struct
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from checkpointheal import digest
from checkpointheal.contract.base import Digest, Frozen
from checkpointheal.contract.layout import Manifest
from checkpointheal.errors import BadFrame, BytesDiffer, CheckpointHealError, UnknownVersion
from checkpointheal.manifest.anew import NOTHING, Anew
from checkpointheal.manifest.bytes_across import write_out
from checkpointheal.manifest.describe import Described, describe
from checkpointheal.manifest.tree import Leaves

MAGIC, VERSION = b"CKHP", 1
_PREFIX = struct.Struct("<4sHHQ")
LIMIT = 64 << 20
UNCHECKED = 0
"""Where what checks the head stands, older builds wrote zeros and read nothing: so it is short, and they read ours."""


class _Head(Frozen):
    manifest: Manifest
    data_digest: Digest


def pack(state: Mapping[str, Any]) -> bytes:
    """The whole state as bytes. Raises UnsupportedLeaf."""
    return pack_described(describe(state))


def pack_described(described: Described) -> bytes:
    """The same of one that is described already."""
    data = bytearray(described.schema.data_bytes)
    write_out(described, data)
    head = _Head(
        manifest=Manifest(schema=described.schema, values=described.values), data_digest=digest.digest_bytes(data)
    )
    written = head.model_dump_json(by_alias=True).encode()
    return _PREFIX.pack(MAGIC, VERSION, _check(written), len(written)) + written + data


def unpack_apart(
    blob: bytes, branch: str, beside: Leaves = NOTHING
) -> tuple[dict[str, Any], dict[str, CheckpointHealError]]:
    """The state again, in memory of its own: what stands under `branch` entry by entry.

    Besides, by its key, why one of these could not be made; the error tells paths from that key on. Raises BadFrame,
    UnknownVersion, BytesDiffer or UnknownClass, for whatever is none of these entries' fault.
    """
    manifest, data = _read(blob)
    return Anew(manifest.schema_, manifest.values, data, beside).apart(branch)


def _check(head: bytes) -> int:
    return int(digest.digest_bytes(head)[:4], 16) or UNCHECKED + 1


def _read(blob: bytes) -> tuple[Manifest, bytearray]:
    if not _PREFIX.size <= len(blob) <= LIMIT:
        raise BadFrame(f"a packed state of {len(blob)} bytes: from {_PREFIX.size} to {LIMIT} are read")
    magic, version, check, length = _PREFIX.unpack_from(blob)
    if magic != MAGIC:
        raise BadFrame("these bytes are no packed state")
    if version != VERSION:
        raise UnknownVersion(f"a packed state of version {version}; this build reads {VERSION}")
    end = _PREFIX.size + length
    if end > len(blob):
        raise BadFrame(f"the packed state's head claims {length} bytes, {len(blob) - _PREFIX.size} are there")
    written = blob[_PREFIX.size : end]
    if check not in (UNCHECKED, _check(written)):
        raise BytesDiffer("a packed state whose head is not the one that was packed")
    try:
        head = _Head.model_validate_json(written)
    except ValidationError as error:
        raise BadFrame(f"the packed state's head cannot be read: {error.error_count()} faults") from error
    data = bytearray(blob[end:])
    if digest.digest_bytes(data) != head.data_digest:
        raise BytesDiffer("a packed state whose bytes are not those that were packed")
    return head.manifest, data
