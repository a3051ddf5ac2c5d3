"""Is there room in the arena for generations of this size, and for private parts beside them?

The agent makes the slots, so that their pages are charged to it and not to the trainer. Must not know what they hold.
"""

from checkpointheal.arena import Arena
from checkpointheal.contract.trainer import Refused, Reserve, Reserved
from checkpointheal.trainer.line import Line
from checkpointheal.trainer.unkept import Telling

NOT_RESERVED = "NotReserved"


class Room:
    """Of one trainer. `budget`: seconds that slots may take to make."""

    def __init__(self, budget: float, line: Line, telling: Telling) -> None:
        self._budget, self._line, self._telling = budget, line, telling
        self._asked: Reserve | None = None

    def is_there(self, slot_bytes: int, private_bytes: int) -> bool:
        """Waits once for each size that is asked for; an answer that comes later is found by a later commit."""
        asking = Reserve(slot_bytes=slot_bytes, part_bytes=max(self._granted(), Arena.part_bytes(private_bytes)))
        if asking == self._asked:
            return self._is_answered(0.0)
        if not self._line.ask(asking, "reserve"):
            self._telling.once("NoAgent", "not protected: no agent is there to make the arena's slots")
        self._asked = asking
        return self._is_answered(self._budget if self._line.connected else 0.0)

    def _granted(self) -> int:
        """Bytes that a private part may have already."""
        is_refused = isinstance(self._line.latest("reserve"), Refused)
        return 0 if self._asked is None or is_refused else self._asked.part_bytes

    def _is_answered(self, seconds: float) -> bool:
        answer = self._line.wait_for("reserve", lambda _: True, seconds)
        if isinstance(answer, Refused):
            why = f"not protected: the agent made no slots ({answer.reason}: {answer.message})"
            self._telling.once(NOT_RESERVED, why)
        elif answer is None and self._line.connected:
            self._telling.once(NOT_RESERVED, "not protected: the agent has not made the arena's slots yet")
        return isinstance(answer, Reserved)
