"""The wire's door: frames, and how they become bytes and come back."""

from checkpointheal.wire.frames import (
    MESSAGE_LIMIT,
    REASON,
    Frame,
    Hello,
    Lifeline,
    Offer,
    Range,
    Receipt,
    Refuse,
    Want,
)
from checkpointheal.wire.framing import FIRST, PREFIX_BYTES, SPOKEN, Prefix, encode, negotiate, parse, parse_prefix
from checkpointheal.wire.instead import LONGEST, found_in, instead

__all__ = [
    "FIRST",
    "LONGEST",
    "MESSAGE_LIMIT",
    "PREFIX_BYTES",
    "REASON",
    "SPOKEN",
    "Frame",
    "Hello",
    "Lifeline",
    "Offer",
    "Prefix",
    "Range",
    "Receipt",
    "Refuse",
    "Want",
    "encode",
    "found_in",
    "instead",
    "negotiate",
    "parse",
    "parse_prefix",
]
