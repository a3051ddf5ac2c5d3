"""How does one commit put the state where it outlives this process?

The private part goes first: its way to a buddy takes about as long as the copy that follows, so that the step is
restorable, even without this pod, by the time anyone may overwrite the slot before it. Then one copy of the replicated
state into a free slot, before `commit` returns or beside the training loop; then the seal. Must not know restoring.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from checkpointheal.arena import Arena
from checkpointheal.contract.trainer import Sealed
from checkpointheal.errors import AlreadyAttached, NoArena
from checkpointheal.manifest import Described, Known
from checkpointheal.trainer.background import Background
from checkpointheal.trainer.forms import Forms
from checkpointheal.trainer.generation import Generation
from checkpointheal.trainer.line import Line
from checkpointheal.trainer.on_demand import Noted, OnDemand
from checkpointheal.trainer.parts import Parts
from checkpointheal.trainer.placing import Commit, Placing
from checkpointheal.trainer.private_way import PrivateWay
from checkpointheal.trainer.resting import Resting, Watch
from checkpointheal.trainer.room import Room
from checkpointheal.trainer.settings import TrainerSettings
from checkpointheal.trainer.signals import Told
from checkpointheal.trainer.unkept import Telling
from checkpointheal.trainer.updates import before_updates

WRITTEN, MOVED = "WrittenWhileCopied", "MovedWhileHeld"
ODD, SELDOM = "NotOneNumber", "CommitsSeldom"
LOCK_PATIENCE = 5.0
"""Seconds that a trainer before this one, killed already, may take to be gone."""


class Keeping:
    """The arena as one trainer uses it. Whatever is wrong with it is said once; training goes on."""

    def __init__(self, parts: Parts, settings: TrainerSettings, incarnation: str, line: Line) -> None:
        self._parts, self._settings, self._line = parts, settings, line
        self._resources = contextlib.ExitStack()
        self._arena: Arena | None = None
        self._has_kept = False
        self._telling = Telling(line)
        room = Room(settings.reserve_budget, line, self._telling)
        self._forms = Forms(parts)
        self._placing = Placing(settings, incarnation, room, self._telling, self._forms)
        self._private = PrivateWay(settings.private_limit, line, self._telling)
        self._resting = Resting(parts)
        self._copies_beside = settings.background
        self._beside = Background()
        self._on_demand = OnDemand(parts, self._resting) if settings.on_demand else None
        self._unconfirmed: int | None = None
        self._is_clear = False

    def open(self, patience: float = 0.0) -> Arena:
        """The arena, held for this process alone; raises NoArena, or AlreadyAttached where another process has it."""
        if self._settings.arena is None:
            raise NoArena("this trainer has no arena")
        if self._arena is None:
            arena = Arena.open(self._settings.arena)
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

    def keep(self, epoch: int, step: int, is_over: Callable[[], bool], told: Told | None = None) -> None:
        """Make this step's generation.

        The training loop stands still for one copy of the replicated state or, where copies run in the background, for
        what may be written before the next update. `is_over` tells, once the copy is whole, whether the epoch has ended
        meanwhile. `told`: what the loop says of the step. Raises Misuse, in the first commit alone, where the program
        must be mended; whatever fails later is said once. TargetInvalid in any: this is no state to keep.
        """
        commit = Commit(epoch, step, is_over, told or Told(), time.monotonic())
        self.settle()
        with self._telling.of_errors(is_first=not self._has_kept):
            if self._on_demand is not None:
                self._promise(self._on_demand, commit)
            else:
                self._keep_now(commit)
            self._has_kept = True

    def begins(self, own: Known) -> None:
        """The trainer has what it begins with: so would one that takes its place.

        `own`: the classes that its private parts held before. At a fresh start they are not asked: a loader would
        begin its pass.
        """
        self._forms.note()
        self._private.begins(own)

    def hold_updates_up(self) -> None:
        """From now on an update waits for what is copied in the background."""
        if self._settings.background:
            self._beside.hold_up(self._parts.optimizers.values())

    def follow_updates(self) -> None:
        """From now on an update ends what could be kept on demand. To be called once whoever may refuse it is there."""
        if self._on_demand is not None:
            for name, optimizer in self._parts.optimizers.items():
                before_updates([optimizer], partial(self._steps, self._on_demand, name))

    def update_begins(self) -> None:
        """What is copied in the background is, before this returns; and the last commit cannot be kept any more."""
        self.settle()
        if self._on_demand is not None and (path := self._on_demand.update_begins()) is not None:
            self._telling.not_kept(
                WRITTEN,
                f"{path} is written after each commit() and before the next step() of an optimizer, as by a forward "
                "with max_norm: no step can be given; call attach() without on_demand=True",
            )

    def _steps(self, on_demand: OnDemand, name: str) -> None:
        self.update_begins()
        if on_demand.has_stepped(name):
            self._telling.once(
                SELDOM,
                f"{name} makes several updates between two commits: who is lost behind the first of them takes the job "
                "to your checkpoint: nothing was copied; commit after each, or call attach() without on_demand=True",
            )

    def publish(self) -> None:
        """Keep the last commit now, where it is kept on demand and no update has begun since."""
        self._beside.wait()
        self._is_clear = False  # the epoch to come begins with a state that is kept
        promise = self._on_demand.take() if self._on_demand is not None else None
        if promise is None:
            return
        # The update that a lost collective would have spoiled was refused: on a device, too, what lies there is whole.
        commit = promise.commit._replace(is_over=lambda: False, begun=time.monotonic())
        with self._telling.of_errors(is_first=False):
            generation = self._placing.place(self.open(), promise.described, commit)
            if generation is None:
                return
            generation.copy()
            if (path := promise.watch.written()) is not None:
                generation.abandon()
                self._telling.not_kept(
                    WRITTEN, f"step {commit.step} cannot be given: {path} was written since commit()"
                )
            elif generation.seal():
                self._sealed(generation, commit)

    def settle(self) -> None:
        """Wait for what goes on beside the loop, and for who shall have the private part of the last commit."""
        self._beside.wait()
        step, self._unconfirmed = self._unconfirmed, None
        if step is not None:
            self._private.wait_for_buddy(step)

    def close(self) -> None:
        """Let go of the arena."""
        self.settle()
        if self._on_demand is not None:
            self._on_demand.withdraw()
        self._resources.close()
        self._arena = None

    def _keep_now(self, commit: Commit) -> None:
        described = self._ready(commit.step, self._parts.replicated_state(), self._parts.private_state())
        generation = None if described is None else self._placing.place(self.open(), described, commit)
        if generation is not None and self._copies_beside:
            self._copy_beside(generation, commit)
        elif generation is not None:
            generation.copy()
            if generation.seal():
                self._sealed(generation, commit)

    def _promise(self, on_demand: OnDemand, commit: Commit) -> None:
        """Where it lies as it lay, the loop goes on at once: all else that a commit takes is longer than that."""
        on_demand.withdraw()
        noted = on_demand.note()
        if noted.held is None or not self._is_clear:
            if (described := self._ready(commit.step, noted.state, noted.own)) is not None:
                self._clear()
                self._stand_by(on_demand, noted, described, commit)
            return
        file = self._private.keep(self.open(), commit.step, noted.own)  # or a kill now would lose it for all

        def rest() -> None:
            with self._telling.of_errors(is_first=False):
                self._private.tell(commit.step, file)
                if (described := self._placing.describe(noted.state)) is not None:
                    self._stand_by(on_demand, noted, described, commit)

        self._beside.start(rest)

    def _stand_by(self, on_demand: OnDemand, noted: Noted, described: Described, commit: Commit) -> None:
        self._unconfirmed = commit.step
        if not on_demand.promise(noted, described, commit):
            self._telling.not_kept(
                MOVED, f"step {commit.step} could not be given: its tensors lie elsewhere than one step before"
            )

    def _clear(self) -> None:
        """What was kept before is worth less than the user's checkpoint from now on: it goes."""
        if not self._is_clear:
            arena = self.open()
            for slot in arena.seals():
                arena.discard(slot)
            self._is_clear = True

    def _ready(self, step: int, state: Mapping[str, Any], own: Mapping[str, Any]) -> Described | None:
        """The state described, its private part handed over; None where no slot could hold it, which was said."""
        if (described := self._placing.describe(state)) is not None:
            self._private.tell(step, self._private.keep(self.open(), step, own))
        return described

    def _copy_beside(self, generation: Generation, commit: Commit) -> None:
        """What may be written before the next update at once, the rest beside the loop."""
        rests = self._resting.of(generation.described)
        watch = Watch.of(generation.described, rests)
        generation.copy([not each for each in rests])
        pause = time.monotonic() - commit.begun

        def copy() -> None:
            with self._telling.of_errors(is_first=False):
                generation.copy(rests)
                if (path := watch.written()) is None:
                    if generation.seal():
                        self._sealed(generation, commit, pause)
                    return
                generation.abandon()
                self._copies_beside = False
                self._telling.not_kept(
                    WRITTEN,
                    f"step {generation.step} was not kept: {path} was written between commit() and the next step() of "
                    "an optimizer. From now on commit() copies everything before it returns",
                )

        self._beside.start(copy, generation.described.seen.devices)

    def _sealed(self, generation: Generation, commit: Commit, pause: float | None = None) -> None:
        """It is there: tell so. `pause`: seconds that the loop stood still for it, if not until now."""
        self._telling.kept()
        if pause is None:
            pause = time.monotonic() - commit.begun
        for name in commit.told.odd:
            self._telling.once(
                f"{ODD} {name}", f"{name} is not compared: commit() takes one number, or a whole tensor of one"
            )
        sealed = Sealed(slot=generation.slot, step=generation.step, pause=pause, signals=commit.told.read())
        self._line.say(sealed, again="sealed")
        self._private.wait_for_buddy(generation.step)
