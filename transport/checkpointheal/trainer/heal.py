"""The trainer's door: attach, restore, agree, commit, done.

It answers one question of a training loop, *where do I start, and what is safe now?*, and must never slow or kill a
healthy trainer: without an agent every call is a cheap no-op that says so once. Must not know the operator, and moves
no byte to another machine.
"""

import contextlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any

import torch.distributed as dist

from checkpointheal import digest
from checkpointheal.arena import Arena
from checkpointheal.contract.base import Digest
from checkpointheal.contract.trainer import (
    AgentSays,
    Applied,
    Done,
    EpochOver,
    Hello,
    Rejoined,
    Restored,
    Wait,
    Waiting,
    Withdraw,
)
from checkpointheal.errors import (
    AgentGone,
    AlreadyAttached,
    BadFrame,
    BytesDiffer,
    NoArena,
    NotRestored,
    SlotDamaged,
    UnknownClass,
    UnknownVersion,
)
from checkpointheal.manifest import describe, unpack
from checkpointheal.trainer import build, rejoining
from checkpointheal.trainer.agreement import Standing, agree
from checkpointheal.trainer.apply import Given, apply
from checkpointheal.trainer.collectives import Baseline, end_collectives
from checkpointheal.trainer.ending import Ending
from checkpointheal.trainer.keeping import LOCK_PATIENCE, Keeping
from checkpointheal.trainer.line import Line
from checkpointheal.trainer.parts import Parts, declare
from checkpointheal.trainer.settings import TrainerSettings

log = logging.getLogger("checkpointheal")

JOINING_GRACE = 1.0
"""Seconds to end for a process that has not trained in its epoch yet.

It has nothing to clean up, and may be connecting to a peer that is gone, which no closed socket interrupts."""

_attached: set[str] = set()


class Heal:
    """One trainer's membership in its job. Made by `attach`."""

    def __init__(self, parts: Parts, settings: TrainerSettings) -> None:
        self._parts, self._settings = parts, settings
        self._incarnation = settings.incarnation or uuid.uuid4().hex
        self._epoch, self._request = 0, 0
        self._step: int | None = None
        self._has_joined = threading.Event()
        self._highest = -1
        self._asked = False
        self._line: Line | None = None
        if settings.arena is None:
            log.warning(
                "checkpointheal: CHECKPOINTHEAL_ARENA is not set, so there is no agent: training is not protected"
            )
            return
        baseline = Baseline.take()
        self._ending = Ending(lambda: end_collectives(baseline, settings.store_ports))
        self._line = Line(settings.arena, self._hello, self._epoch_over)
        self._keeping = Keeping(parts, settings, self._incarnation, self._line)
        with contextlib.suppress(NoArena):  # the agent may come later than its trainer
            self._keeping.open(LOCK_PATIENCE)
        self._line.start()

    def restore(self, budget: float | None = None) -> int | None:
        """Wait for a state and load it.

        Returns the step whose state the objects now hold, or None: then load your own checkpoint, or start fresh.
        `budget` is in seconds (default: CHECKPOINTHEAL_RESTORE_BUDGET, else 180); while the job's policy says
        `fallback: Hold` it does not count. Raises SchemaDiffers or AppliedStateDiffers where the objects cannot hold
        what their peers hold.
        """
        self._asked = True
        if self._line is None:
            return None
        begun = time.monotonic()
        answer = self._wait_for_answer(self._line, self._settings.restore_budget if budget is None else budget)
        if answer is None:
            return None
        self._take_place(self._line, answer)
        rejoining.watch(self._settings.store_ports, self._has_joined)
        waited = time.monotonic()
        held = None if answer.step is None else self._load(answer, answer.step)
        seconds = time.monotonic() - waited
        self._line.say(Applied(epoch=answer.epoch, step=answer.step, seconds=seconds, digest=held), again="applied")
        log.info(
            "checkpointheal: epoch %d, %s: step %s after %.2f s",
            answer.epoch,
            answer.rung,
            answer.step,
            time.monotonic() - begun,
        )
        return answer.step

    @property
    def epoch(self) -> int:
        """The number of the epoch that `restore()` began; 0 without one. It never comes again, and is equal everywhere.

        A store that outlives the ranks, as torchrun's, needs a prefix made of it: a member of an earlier epoch has left
        its addresses there.
        """
        return self._epoch

    def agree(self, group: dist.ProcessGroup | None = None) -> None:
        """All ranks of the group restored the same thing, or RestoreDisagrees on every one of them. A collective."""
        begun = time.monotonic()
        schema = digest.schema_digest(describe(self._parts.replicated_state()).schema)
        agree(Standing(self._line is not None, self._epoch, self._step, schema), group)
        self._has_joined.set()
        if self._line is not None:
            self._line.say(Rejoined(epoch=self._epoch, seconds=time.monotonic() - begun), again="rejoined")

    def commit(self, step: int) -> bool:
        """The state is whole and belongs to `step` completed updates: keep it. True where the step is new.

        A step that the job had reached before a heal is kept, but is not new: what runs once per step has run. The
        training loop stands still for one copy of the replicated state; where no slot is free the generation is
        skipped, and the loop never waits for one. Once the epoch is over, the process ends here, by SystemExit.
        Raises NotRestored; TargetInvalid where a receive of this process broke and left the state half filled; in the
        first commit also UnsupportedLeaf or PrivateStateTooLarge.
        """
        if not self._asked:
            raise NotRestored("commit() came before restore(): call restore() once, before the training loop")
        self._has_joined.set()
        if self._step is None or step > self._step:
            self._step = step
            if self._line is not None:
                self._keeping.keep(self._epoch, step, lambda: self._ending.is_over)
        if self._line is not None and self._ending.is_over:
            self._ending.end()
        is_new = step > self._highest
        self._highest = max(step, self._highest)
        return is_new

    def done(self) -> None:
        """Training is over: this member is not healed any more."""
        if self._line is not None:
            self._ending.rest()
            self._line.say(Done(), again="done")
            self._keeping.close()

    def _hello(self) -> Hello:
        return Hello(
            role="trainer",
            incarnation=self._incarnation,
            pid=os.getpid(),
            epoch=self._epoch,
            build=build.of_this_process(),
        )

    def _epoch_over(self, told: EpochOver) -> None:
        # Before the first answer, what is over is the epoch of the process before this one.
        if 0 < self._epoch <= told.epoch:
            seconds = told.deadline if self._has_joined.is_set() else min(told.deadline, JOINING_GRACE)
            self._ending.begin(told.model_copy(update={"deadline": seconds}))

    def _take_place(self, line: Line, answer: Restored) -> None:
        self._epoch, self._step = answer.epoch, answer.step
        self._highest = max(-1 if each is None else each for each in (answer.step, answer.highest))
        if isinstance(told := line.latest("epoch_over"), EpochOver):
            self._epoch_over(told)  # the line's thread may have heard it before this one had its place

    def _wait_for_answer(self, line: Line, budget: float) -> Restored | None:
        self._request += 1
        wait = Wait(request=self._request, budget=budget)
        answer = _next_word(line, wait)
        while isinstance(answer, Waiting):
            wait = wait.model_copy(update={"held": answer.hold})
            answer = _next_word(line, wait)
        line.unsay("wait")
        if answer is None:
            line.say(Withdraw(request=wait.request))
            log.warning(
                "checkpointheal: nothing was restored within %g s: load your checkpoint, or start fresh", budget
            )
        return answer

    def _load(self, answer: Restored, step: int) -> Digest:
        if answer.slot is None:
            raise AgentGone(f"the agent named step {step} but no slot that holds it")
        arena = self._keeping.open(LOCK_PATIENCE)
        with arena.read(answer.slot) as reading:
            if reading.seal.step != step:
                raise SlotDamaged(f"slot {answer.slot} holds step {reading.seal.step}, and {step} was named")
            held = apply(self._parts, Given(reading.schema, reading.seal.values, reading.data))
        if answer.state_digest not in (None, held):
            raise SlotDamaged(f"slot {answer.slot} holds state {held}, and {answer.state_digest} was named")
        if answer.private_begins:
            log.info("checkpointheal: this rank is new in the job: its random streams and data position begin here")
        else:
            self._load_private(arena, step)
        return held

    def _load_private(self, arena: Arena, step: int) -> None:
        try:
            blob = arena.read_private(step)
            state = None if blob is None else unpack(blob, known=describe(self._parts.private_state()).leaves.known)
        except (BadFrame, BytesDiffer, UnknownVersion, UnknownClass, SlotDamaged) as error:
            log.error("checkpointheal: the private part of step %d cannot be read: %s", step, error)
            state = None
        if state is None:
            log.error(
                "checkpointheal: this rank's private part of step %d is missing: random streams and data position "
                "begin anew, so the run is restored but not identical",
                step,
            )
            return
        self._parts.put_back_private(state)


def _next_word(line: Line, wait: Wait) -> Restored | Waiting | None:
    """The answer, or a word that starts or stops the budget; None once the budget is over."""

    def heard(said: AgentSays) -> bool:
        if isinstance(said, Waiting):
            return said.request == wait.request and said.hold != wait.held
        return isinstance(said, Restored) and said.request == wait.request

    line.say(wait, again="wait")
    said = line.wait_for_any(heard, None if wait.held else wait.budget)
    return said if isinstance(said, Restored | Waiting) else None


def attach(*, private: Mapping[str, Any] | None = None, private_limit: int = 1 << 20, **replicated: Any) -> Heal:
    """Declare the state of this trainer, before `restore()`.

    Each keyword names a part with `state_dict()` and `load_state_dict()` that is equal on every replica: model,
    optimizer, scheduler, EMA. `private` names what belongs to this rank alone, such as its data position; random
    streams and BatchNorm statistics are private without being named. `private_limit` is in bytes.
    Raises Misuse where a part cannot be kept, AlreadyAttached where this process has attached before.
    """
    parts = declare(replicated, private or {})
    settings = TrainerSettings.from_environment(os.environ, private_limit)
    if settings.arena is not None:
        if str(settings.arena) in _attached:
            raise AlreadyAttached(
                "this process is attached already: call attach() once, and pass the Heal that it returned"
            )
        _attached.add(str(settings.arena))
    return Heal(parts, settings)
