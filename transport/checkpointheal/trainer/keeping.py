"""How does one commit put the state where it outlives this process?

The private part goes first: its way to a buddy takes about as long as the copy that follows, so that the step is
restorable, even without this pod, by the time anyone may overwrite the slot before it. Then one copy of the replicated
state into a free slot, at the commit or once somebody needs it; then the seal. Must not know restoring.
"""

import time
from collections.abc import Callable
from typing import Protocol

from checkpointheal.arena import Arena
from checkpointheal.manifest import Known
from checkpointheal.trainer.background import Background
from checkpointheal.trainer.keeping_now import KeepingNow
from checkpointheal.trainer.keeping_on_demand import KeepingOnDemand
from checkpointheal.trainer.line import Line
from checkpointheal.trainer.parts import Parts
from checkpointheal.trainer.placing import Commit
from checkpointheal.trainer.settings import TrainerSettings
from checkpointheal.trainer.signals import Told
from checkpointheal.trainer.vault import Vault

LOCK_PATIENCE = 5.0
"""Seconds that a trainer before this one, killed already, may take to be gone."""


class Way(Protocol):
    """When a state is copied: at its commit, or on demand."""

    def keep(self, commit: Commit) -> None:
        """Do what a commit does, in the training loop."""
        ...

    def settle(self) -> None:
        """Wait for what the last commit has left to be done."""
        ...

    def follow_updates(self) -> None:
        """Be told of each update of an optimizer, where that matters."""
        ...

    def update_begins(self) -> None:
        """One does."""
        ...

    def publish(self) -> None:
        """Keep now what is only promised."""
        ...

    def withdraw(self) -> None:
        """What is promised cannot be kept any more."""
        ...


class Keeping:
    """The arena as one trainer keeps its states there. Whatever is wrong with it is said once; training goes on."""

    def __init__(self, parts: Parts, settings: TrainerSettings, incarnation: str, line: Line) -> None:
        self._parts, self._holds_up = parts, settings.background
        self._vault, self._beside = Vault(parts, settings, incarnation, line), Background()
        self._has_kept = False
        self._way: Way = (
            KeepingOnDemand(parts, self._vault, self._beside)
            if settings.on_demand
            else KeepingNow(parts, self._vault, self._beside, copies_beside=settings.background)
        )

    def open(self, patience: float = 0.0) -> Arena:
        """The arena, held for this process alone; raises NoArena, or AlreadyAttached where another process has it."""
        return self._vault.open(patience)

    def keep(self, epoch: int, step: int, is_over: Callable[[], bool], told: Told | None = None) -> None:
        """Make this step's generation.

        The training loop stands still for one copy of the replicated state or, where copies run in the background, for
        what may be written before the next update. `is_over` tells, once the copy is whole, whether the epoch has ended
        meanwhile. `told`: what the loop says of the step. Raises Misuse, in the first commit alone, where the program
        must be mended; whatever fails later is said once. TargetInvalid in any: this is no state to keep.
        """
        commit = Commit(epoch, step, is_over, told or Told(), time.monotonic())
        self.settle()
        with self._vault.telling.of_errors(is_first=not self._has_kept):
            self._way.keep(commit)
            self._has_kept = True

    def begins(self, own: Known) -> None:
        """The trainer has what it begins with: so would one that takes its place.

        `own`: the classes that its private parts held before. At a fresh start they are not asked: a loader would
        begin its pass.
        """
        self._vault.begins(own)

    def hold_updates_up(self) -> None:
        """From now on an update waits for what is copied in the background."""
        if self._holds_up:
            self._beside.hold_up(self._parts.optimizers.values())

    def follow_updates(self) -> None:
        """From now on an update ends what could be kept on demand. To be called once whoever may refuse it is there."""
        self._way.follow_updates()

    def update_begins(self) -> None:
        """What is copied in the background is, before this returns; and the last commit cannot be kept any more."""
        self._way.update_begins()

    def publish(self) -> None:
        """Keep the last commit now, where it is kept on demand and no update has begun since."""
        self._way.publish()

    def settle(self) -> None:
        """Wait for what goes on beside the loop, and for who shall have the private part of the last commit."""
        self._way.settle()

    def close(self) -> None:
        """Let go of the arena."""
        self.settle()
        self._way.withdraw()
        self._vault.close()
