"""How does one commit put the state where it outlives this process?

The private part goes first: its way to a buddy takes about as long as the copy that follows, so that the step is
restorable, even without this pod, by the time anyone may overwrite the slot before it. Then one copy of the replicated
state into a free slot, then the seal. Must not know restoring.
"""

import contextlib
import logging
import time
from collections.abc import Iterator

from checkpointheal import digest
from checkpointheal.arena import Arena, Writing
from checkpointheal.contract.seal import Seal
from checkpointheal.contract.trainer import PrivateKept, PrivateReady, Reserve, Sealed
from checkpointheal.errors import ArenaDoesNotFit, PrivateStateTooLarge
from checkpointheal.manifest import Described, describe, pack, write_out
from checkpointheal.trainer.line import Line
from checkpointheal.trainer.parts import Parts
from checkpointheal.trainer.settings import TrainerSettings

log = logging.getLogger("checkpointheal")

PRIVATE_GRACE = 0.25
"""Seconds that a commit waits, after its copy, for a buddy to have the private part. Usually one has it long before."""


class Keeping:
    """The arena as one trainer uses it. Whatever is wrong with it is said once; training goes on."""

    def __init__(self, parts: Parts, settings: TrainerSettings, incarnation: str, line: Line) -> None:
        self._parts, self._settings, self._incarnation, self._line = parts, settings, incarnation, line
        self._resources = contextlib.ExitStack()
        self._arena: Arena | None = None
        self._described: Described | None = None
        self._reserved = False
        self._said: set[str] = set()

    def open(self) -> Arena:
        """The arena, held for this process alone; raises AlreadyAttached where another one has it."""
        if self._settings.arena is None:
            raise ArenaDoesNotFit("this trainer has no arena")
        if self._arena is None:
            arena = Arena.open(self._settings.arena)
            self._resources.enter_context(arena.hold_trainer_lock())
            self._arena = arena
        return self._arena

    def keep(self, epoch: int, step: int) -> None:
        """Make this step's generation. The training loop stands still for one copy of the replicated state."""
        begun = time.monotonic()
        self._described = describe(self._parts.replicated_state(), self._described)
        if not self._reserve(self._described):
            return
        arena = self.open()
        self._hand_over_private(arena, step)
        slot = self._seal(arena, self._described, epoch, step)
        if slot is None:
            return
        self._line.say(Sealed(slot=slot, step=step, pause=time.monotonic() - begun), again="sealed")
        if self._line.connected:
            self._line.wait_for(
                "private_kept", lambda said: isinstance(said, PrivateKept) and said.step >= step, PRIVATE_GRACE
            )

    def close(self) -> None:
        """Let go of the arena."""
        self._resources.close()
        self._arena = None

    def _reserve(self, described: Described) -> bool:
        """Have the agent make the slots: their pages are charged to it, not to the trainer."""
        if self._reserved:
            return True
        if not self._line.say(Reserve(slot_bytes=Arena.slot_bytes(described.schema))):
            self._say_once("NoAgent", "not protected: no agent is there to make the arena's slots")
            return False
        answer = self._line.wait_for("reserve", lambda _: True, self._settings.reserve_budget)
        if answer is None or answer.say != "reserved":
            why = (
                f"{answer.reason}: {answer.message}" if answer is not None and answer.say == "refused" else "no answer"
            )
            self._say_once("NotReserved", f"not protected: the agent made no slots ({why})")
            return False
        self._reserved = True
        return True

    def _hand_over_private(self, arena: Arena, step: int) -> None:
        blob = pack(self._parts.private_state())
        if len(blob) > self._settings.private_limit:
            raise PrivateStateTooLarge(
                f"the private state of this rank is {len(blob)} bytes, over the limit of "
                f"{self._settings.private_limit}: name what replicas share as a part, or pass private_limit="
            )
        self._line.say(PrivateReady(step=step, file=arena.write_private(step, blob)), again="private")

    def _seal(self, arena: Arena, described: Described, epoch: int, step: int) -> int | None:
        try:
            writing = arena.begin()
        except ArenaDoesNotFit as refusal:
            self._say_once(refusal.reason, f"not protected: {refusal}")
            return None
        if writing is None:
            self._say_once("GenerationSkipped", f"step {step} was not kept: every slot is being read")
            return None
        with _abandoned_on_error(writing):
            write_out(described, writing.prepare(described.schema))
            writing.seal(
                Seal(
                    job=self._settings.job,
                    member=self._settings.member,
                    incarnation=self._incarnation,
                    epoch=epoch,
                    step=step,
                    schema_digest=digest.schema_digest(described.schema),
                    header_bytes=writing.header_bytes,
                    data_bytes=described.schema.data_bytes,
                    values=described.values,
                )
            )
        return writing.slot

    def _say_once(self, reason: str, sentence: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            log.warning("checkpointheal: %s", sentence)


@contextlib.contextmanager
def _abandoned_on_error(writing: Writing) -> Iterator[None]:
    try:
        yield
    except BaseException:
        writing.abandon()
        raise
