"""How does a frame become bytes, and how does what came become a frame or a refusal?

    4 bytes   magic, `CKHW`
    2 bytes   version of the wire that this frame is written in
    2 bytes   kind of frame
    8 bytes   length of the header that follows
    header    JSON

Numbers are little-endian. Rules that live here: limits before anything else, so that no peer makes us allocate more
than HEADER_LIMIT. Must not know how bytes travel, nor torch.
"""

import struct
from collections.abc import Collection, Mapping
from typing import NamedTuple

from pydantic import ValidationError

from checkpointheal.errors import BadFrame, Misuse, UnknownVersion
from checkpointheal.wire.frames import Frame, Hello, Offer, Receipt, Refuse, Want

MAGIC = b"CKHW"
SPOKEN = (1,)
"""Versions that this build speaks: the current one and the one before it. Version 1 is the first."""
HEADER_LIMIT = 64 << 20

_PREFIX = struct.Struct("<4sHHQ")
PREFIX_BYTES = _PREFIX.size
_KINDS: Mapping[int, type[Frame]] = {1: Hello, 2: Offer, 3: Want, 4: Receipt, 5: Refuse}
_NUMBERS = {model: number for number, model in _KINDS.items()}
FIRST = 1
"""The version that every build has spoken, or can at least refuse in."""
_TIMELESS = (Hello, Refuse)
"""Written in version 1 whatever is spoken: they are said before a version is agreed, or because none is."""


class Prefix(NamedTuple):
    """The part of known length."""

    version: int
    kind: type[Frame]
    length: int


def encode(frame: Frame, version: int = FIRST) -> bytes:
    """Prefix and header, in a version that both speak. Raises Misuse where the header is too long for any peer."""
    header = frame.model_dump_json(by_alias=True).encode()
    if len(header) > HEADER_LIMIT:
        remedy = frame.remedy() if isinstance(frame, Offer) else "say less"
        raise Misuse(f"the {_name(type(frame))} takes {len(header)} bytes, over {HEADER_LIMIT}: {remedy}")
    written_in = FIRST if isinstance(frame, _TIMELESS) else version
    return _PREFIX.pack(MAGIC, written_in, _NUMBERS[type(frame)], len(header)) + header


def parse_prefix(raw: bytes) -> Prefix:
    """The first PREFIX_BYTES of a frame. Raises BadFrame or UnknownVersion."""
    if len(raw) != PREFIX_BYTES:
        raise BadFrame(f"a frame begins with {PREFIX_BYTES} bytes, {len(raw)} came")
    magic, version, number, length = _PREFIX.unpack(raw)
    if magic != MAGIC:
        raise BadFrame(f"a frame begins with {MAGIC!r}, {magic!r} came: the peer speaks something else")
    if version not in {*SPOKEN, FIRST}:
        raise UnknownVersion(f"a frame of version {version} came, this build speaks {_list(SPOKEN)}")
    kind = _KINDS.get(number)
    if kind is None:
        raise BadFrame(f"a frame of kind {number} came, which version {version} does not have")
    if length > HEADER_LIMIT:
        raise BadFrame(f"the {_name(kind)} claims a header of {length} bytes, over {HEADER_LIMIT}")
    return Prefix(version, kind, length)


def parse(prefix: Prefix, header: bytes) -> Frame:
    """The frame. Raises BadFrame that names the fields that do not fit."""
    if len(header) != prefix.length:
        raise BadFrame(f"the {_name(prefix.kind)} promises a header of {prefix.length} bytes, {len(header)} came")
    try:
        return prefix.kind.model_validate_json(header)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        shown = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}" for fault in faults[:4])
        raise BadFrame(f"the {_name(prefix.kind)} is not one: {shown[:400]}") from error


def negotiate(theirs: Collection[int]) -> int:
    """The highest version that both speak. Raises UnknownVersion."""
    common = set(theirs) & set(SPOKEN)
    if not common:
        raise UnknownVersion(f"the peer speaks {_list(theirs)}, this build {_list(SPOKEN)}: upgrade the older one")
    return max(common)


def _name(kind: type[Frame]) -> str:
    return kind.__name__


def _list(versions: Collection[int]) -> str:
    return "version " + ", ".join(map(str, sorted(versions)))
