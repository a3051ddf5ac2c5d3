"""The arena as one trainer has it: for itself alone, and with a place in it for each state that is ready to be kept.

What both ways of keeping need: the state described and its private part handed over, a slot for it, and the word that
it is there. Must not know when a state is kept, nor restoring.
"""

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from checkpointheal.arena import Arena
from checkpointheal.contract.trainer import Sealed
from checkpointheal.errors import AlreadyAttached, NoArena
from checkpointheal.manifest import Described, Known
from checkpointheal.trainer.forms import Forms
from checkpointheal.trainer.generation import Generation
from checkpointheal.trainer.line import Line
from checkpointheal.trainer.parts import Parts
from checkpointheal.trainer.placing import Commit, Placing
from checkpointheal.trainer.private_way import PrivateWay
from checkpointheal.trainer.room import Room
from checkpointheal.trainer.settings import TrainerSettings
from checkpointheal.trainer.unkept import Telling

ODD = "NotOneNumber"


class Vault:
    """Of one trainer. Whatever is wrong with it is said by `telling`."""

    def __init__(self, parts: Parts, settings: TrainerSettings, incarnation: str, line: Line) -> None:
        self._directory, self._line = settings.arena, line
        self._resources = contextlib.ExitStack()
        self._arena: Arena | None = None
        self.telling = Telling(line)
        self._forms = Forms(parts)
        room = Room(settings.reserve_budget, line, self.telling)
        self.placing = Placing(settings, incarnation, room, self.telling, self._forms)
        self.private = PrivateWay(settings.private_limit, line, self.telling)

    def open(self, patience: float = 0.0) -> Arena:
        """The arena, held for this process alone; raises NoArena, or AlreadyAttached where another process has it."""
        if self._directory is None:
            raise NoArena("this trainer has no arena")
        if self._arena is None:
            arena = Arena.open(self._directory)
            give_up = time.monotonic() + patience
            while self._arena is None:
                try:
                    self._resources.enter_context(arena.hold_trainer_lock())
                    self._arena = arena
                except AlreadyAttached:
                    if time.monotonic() >= give_up:
                        raise
                    time.sleep(0.05)
        return self._arena

    def close(self) -> None:
        """Let go of the arena."""
        self._resources.close()
        self._arena = None

    def begins(self, own: Known) -> None:
        """What the trainer begins with is of known forms; `own`: the classes that its private parts held before."""
        self._forms.note()
        self.private.begins(own)

    def ready(self, step: int, state: Mapping[str, Any], own: Mapping[str, Any]) -> Described | None:
        """The state described, its private part handed over; None where no slot could hold it, which was said."""
        described, part = self.placing.describe(state), self.private.pack(own)
        if not self.placing.has_room(described, len(part)):
            return None
        self.private.tell(step, self.open().write_private(step, part))
        return described

    def place(self, described: Described, commit: Commit) -> Generation | None:
        """The state beside a slot that is ready for it; None where every slot is being read, which was said."""
        return self.placing.place(self.open(), described, commit)

    def sealed(self, generation: Generation, commit: Commit, pause: float | None = None) -> None:
        """It is there: tell so. `pause`: seconds that the loop stood still for it, if not until now."""
        self.telling.kept()
        if pause is None:
            pause = time.monotonic() - commit.begun
        for name in commit.told.odd:
            self.telling.once(
                f"{ODD} {name}", f"{name} is not compared: commit() takes one number, or a whole tensor of one"
            )
        sealed = Sealed(slot=generation.slot, step=generation.step, pause=pause, signals=commit.told.read())
        self._line.say(sealed, again="sealed")
        self.private.wait_for_buddy(generation.step)
