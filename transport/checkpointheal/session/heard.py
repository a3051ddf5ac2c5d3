"""Is the frame that came the one that was due, and how is a no said?

Must not know what is decided.
"""

import re
from typing import TypeVar

from checkpointheal.errors import BadFrame, PeerRefused
from checkpointheal.session.table import Walk
from checkpointheal.wire import MESSAGE_LIMIT, REASON, Frame, Refuse

F = TypeVar("F", bound=Frame)
_UNNAMED = "Misuse"
"""The reason of an error whose own name does not fit in a Refuse, as one of the user's may be."""


def expect(walk: Walk, frame: Frame, kind: type[F]) -> F:
    """The frame, of the kind that was due. Raises PeerRefused for a Refuse, BadFrame for any other."""
    if isinstance(frame, Refuse):
        walk.take("Refuse")
        raise PeerRefused(frame.reason, frame.message)
    if not isinstance(frame, kind):
        raise BadFrame(f"{type(frame).__name__} came while {walk.state}, {kind.__name__} was due")
    return frame


def told(heal: str, attempt: int) -> str:
    """An attempt in words."""
    return f"{heal} attempt {attempt}"


def refusal(error: Exception) -> Refuse:
    """An error in the words of the wire, whatever it is called and says: who is told no need not wait for it."""
    name, said = type(error).__name__, str(error).encode("utf-8", "backslashreplace").decode()
    if re.fullmatch(REASON, name):
        return Refuse(reason=name, message=said[:MESSAGE_LIMIT])
    return Refuse(reason=_UNNAMED, message=f"{name}: {said}"[:MESSAGE_LIMIT])
