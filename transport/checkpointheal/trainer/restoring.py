"""How does a trainer get back into the state that its agent names?

It asks, takes the place that it is given, and fills its live objects from the arena. Must not know what is trained, nor
how an epoch ends.
"""

import logging
import os
import time

from checkpointheal.contract.base import Digest
from checkpointheal.contract.trainer import Applied, Rejoined, Restored, Unkept, Wait
from checkpointheal.errors import AgentGone, AlreadyAttached, BadFrame, CheckpointHealError, Misuse, SlotDamaged
from checkpointheal.trainer.apply import apply
from checkpointheal.trainer.asking import ask
from checkpointheal.trainer.ending import is_of_a_collective
from checkpointheal.trainer.first_update import FirstUpdate
from checkpointheal.trainer.forming import Given
from checkpointheal.trainer.half import Half
from checkpointheal.trainer.keeping import LOCK_PATIENCE, Keeping
from checkpointheal.trainer.line import Line
from checkpointheal.trainer.own_part import NOTHING, PutBack, put_back_own_part
from checkpointheal.trainer.parts import Parts
from checkpointheal.trainer.place import Place

log = logging.getLogger("checkpointheal")


class Restoring:
    """One trainer's way back, each time that it needs one."""

    def __init__(self, parts: Parts, line: Line, keeping: Keeping, place: Place) -> None:
        self._parts, self._line, self._keeping, self._place = parts, line, keeping, place
        self._request = 0
        self.first_update = FirstUpdate(parts)
        self.half = Half()

    def ask(self, budget: float, *, goes_on: bool, ever: bool = False) -> Restored | None:
        """The agent's answer; None once the budget, in seconds, is over. `ever`: it never is.

        `goes_on`: this trainer can go on with fewer members.
        """
        self._keeping.settle()
        self._request += 1
        return ask(self._line, Wait(request=self._request, budget=budget, goes_on=goes_on), ever=ever)

    def take_place(self, answer: Restored) -> None:
        """From now on this trainer is in the epoch of the answer, and hears its end."""
        self._place.take(answer)
        self._line.forget("private_kept")  # of steps that may come again, for which nobody has anything yet
        self._line.repeat_epoch_over()  # its thread may have heard it before this trainer had its place

    def load(self, answer: Restored, begun: float) -> None:
        """Fill the live objects, where there is a state, and say so. `begun`: when it was asked for."""
        waited = time.monotonic()
        _warn_of_ended(answer)
        held, own = (None, NOTHING) if answer.step is None else self._load(answer, answer.step)
        self._keeping.begins(own.known)
        seconds = time.monotonic() - waited
        self._line.say(Applied(epoch=answer.epoch, step=answer.step, seconds=seconds, digest=held), again="applied")
        log.info(
            "checkpointheal: epoch %d, %s: step %s after %.2f s",
            answer.epoch,
            answer.rung,
            answer.step,
            time.monotonic() - begun,
        )

    def joined(self, seconds: float) -> None:
        """All have met, and hold the same; it took so long."""
        self._place.has_joined.set()
        self._line.say(Rejoined(epoch=self._place.epoch, seconds=seconds), again="rejoined")

    def _load(self, answer: Restored, step: int) -> tuple[Digest, PutBack]:
        try:
            filled = self._fill(answer, step)
        except Exception as error:  # loading is the user's code: it may raise anything, which is raised further
            # It ends the process, again and again, and looks like bad memory to whoever does not hear it. An agent too
            # old to carry a rendezvous may not know the word, and would hang up.
            if answer.rendezvous and _is_the_programs(error):
                reason = error.reason if isinstance(error, CheckpointHealError) else type(error).__name__
                self._line.say(Unkept(reason=reason, message=str(error)))
            if self.half.is_there:
                self.half.tell(error)
                self._place.step = None  # what is loaded instead is of another
            raise
        self.half.ends()
        return filled

    def _fill(self, answer: Restored, step: int) -> tuple[Digest, PutBack]:
        if answer.slot is None:
            raise AgentGone(f"the agent named step {step} but no slot that holds it")
        arena = self._keeping.open(LOCK_PATIENCE)
        with arena.read(answer.slot) as reading:
            if reading.seal.step != step:
                raise SlotDamaged(f"slot {answer.slot} holds step {reading.seal.step}, and {step} was named")
            held = apply(self._parts, Given(reading.schema, reading.seal.values, reading.data), self.half.begins)
        if answer.state_digest not in (None, held):
            raise SlotDamaged(f"slot {answer.slot} holds state {held}, and {answer.state_digest} was named")
        back = NOTHING
        if answer.private_begins:
            log.info("checkpointheal: this rank is new in the job: its random streams and data position begin here")
        else:
            own = step if answer.private_step is None else answer.private_step
            back = put_back_own_part(self._parts, arena, own, step)
        self.first_update.expect(step, back.trained)
        return held, back


def _is_the_programs(error: Exception) -> bool:
    """Whether whoever wrote it can mend it, and nobody else."""
    if isinstance(error, CheckpointHealError):
        return isinstance(error, Misuse | BadFrame) and not isinstance(error, AlreadyAttached)
    return not is_of_a_collective(error)


def _warn_of_ended(answer: Restored) -> None:
    """Whoever ended with status 0 is not started again, whether or not its script was through."""
    world = os.environ.get("WORLD_SIZE", "")
    if world.isdecimal() and answer.is_short_of(int(world)):
        log.warning(
            "checkpointheal: %d of %s members are left in epoch %d, the others have ended with status 0: a collective "
            "of all ranks would wait for them in vain",
            answer.members,
            world,
            answer.epoch,
        )
