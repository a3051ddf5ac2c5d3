"""How does a donor say no where only a chunk can be said?

Its Refuse is what the chunk begins with; zeros follow. That is not the chunk, as its digest shows, and who looks finds
the reason. Must not know where chunks lie.
"""

from bisect import bisect_right

from checkpointheal.errors import BadFrame, UnknownVersion
from checkpointheal.wire.frames import MESSAGE_LIMIT, Refuse
from checkpointheal.wire.framing import PREFIX_BYTES, encode, parse, parse_prefix

LONGEST = PREFIX_BYTES + 128 + 12 * MESSAGE_LIMIT
"""Bytes of a chunk that need be looked at: JSON writes a character in twelve at most."""


def instead(refuse: Refuse, nbytes: int) -> bytes:
    """What a chunk of this length begins with; its message is cut where there is no room for all of it."""

    def cut(count: int) -> bytes:
        return encode(refuse.but(message=refuse.message[:count]))

    fitting = bisect_right(range(len(refuse.message) + 1), nbytes, key=lambda count: len(cut(count)))
    return cut(fitting - 1) if fitting else b""


def found_in(chunk: bytes) -> Refuse | None:
    """Why the donor has no such chunk, if that is what it said in its place."""
    try:
        prefix = parse_prefix(chunk[:PREFIX_BYTES])
        frame = parse(prefix, chunk[PREFIX_BYTES:][: prefix.length])
    except (BadFrame, UnknownVersion):
        return None
    return frame if isinstance(frame, Refuse) else None
