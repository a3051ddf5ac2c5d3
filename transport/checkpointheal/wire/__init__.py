"""The wire's door: frames, and how they become bytes and come back."""

from checkpointheal.wire.frames import MESSAGE_LIMIT, Frame, Hello, Lifeline, Offer, Range, Receipt, Refuse, Want
from checkpointheal.wire.framing import PREFIX_BYTES, SPOKEN, Prefix, encode, negotiate, parse, parse_prefix

__all__ = [
    "MESSAGE_LIMIT",
    "PREFIX_BYTES",
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
    "negotiate",
    "parse",
    "parse_prefix",
]
