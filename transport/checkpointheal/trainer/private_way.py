"""How does a rank's private part of one step get to whoever keeps it for this pod?

The agent is told where it lies and hands it on. Must not know what is private, nor who the buddies are.
"""

from collections.abc import Mapping
from typing import Any

from checkpointheal.contract.trainer import PrivateKept, PrivateReady
from checkpointheal.errors import PrivateStateTooLarge, UnsupportedLeaf
from checkpointheal.manifest import Known, describe, pack_described
from checkpointheal.trainer.line import Line
from checkpointheal.trainer.new_classes import NewClasses
from checkpointheal.trainer.parts import as_declared
from checkpointheal.trainer.unkept import Telling

GRACE = 1.0
"""Seconds that a commit waits, after its copy, for a buddy to have the private part.

Usually one has it long before; where none answers, only the first commit waits."""
SOMEBODY = (
    "which is not registered: whoever takes this trainer's place knows it only where its own part holds one when it is "
    "newly made, and else that part begins anew"
)


class PrivateWay:
    """Of one trainer. `limit` is in bytes."""

    def __init__(self, limit: int, line: Line, telling: Telling) -> None:
        self._limit, self._line, self._telling = limit, line, telling
        self._buddy_answers = True
        self._classes = NewClasses()

    def begins(self, known: Known) -> None:
        """The classes that the parts held when they were newly made, as far as they were asked."""
        self._classes.note(known)

    def pack(self, own: Mapping[str, Any]) -> bytes:
        """As it shall lie in the arena, where it outlives this process. Raises PrivateStateTooLarge."""
        try:
            described = describe(own)
        except UnsupportedLeaf as error:
            raise UnsupportedLeaf(as_declared(error.path), error.kind, error.remedy) from error
        for each in self._classes.found(described):
            self._telling.new_class(each, as_declared(each.path), SOMEBODY)
        blob = pack_described(described)
        if len(blob) > self._limit:
            raise PrivateStateTooLarge(
                f"the private state of this rank is {len(blob)} bytes, over the limit of {self._limit}: name what "
                "replicas share as a part, or pass private_limit="
            )
        return blob

    def tell(self, step: int, file: str) -> None:
        """The agent hands it on."""
        self._line.say(PrivateReady(step=step, file=file), again="private")

    def wait_for_buddy(self, step: int) -> None:
        """A buddy that let one commit wait in vain lets no other wait until it answers again."""
        seconds = GRACE if self._buddy_answers and self._line.connected else 0.0
        answer = self._line.wait_for(
            "private_kept", lambda said: isinstance(said, PrivateKept) and said.step >= step, seconds
        )
        if answer is None and seconds == 0.0:
            latest = self._line.latest("private_kept")
            self._buddy_answers = isinstance(latest, PrivateKept) and latest.step >= step - 1
        else:
            self._buddy_answers = answer is not None
