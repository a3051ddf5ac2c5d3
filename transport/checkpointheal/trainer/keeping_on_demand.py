"""How is a state kept only once it is needed: noted at its commit, and written where a peer is lost?

The private part goes at once all the same: nobody else has it. Must not know what can be given, nor for how long.
"""

import time
from functools import partial

from checkpointheal.manifest import Described
from checkpointheal.trainer.background import Background
from checkpointheal.trainer.on_demand import Noted, OnDemand
from checkpointheal.trainer.parts import Parts
from checkpointheal.trainer.placing import Commit
from checkpointheal.trainer.resting import Resting
from checkpointheal.trainer.unkept import WRITTEN
from checkpointheal.trainer.updates import before_updates
from checkpointheal.trainer.vault import Vault

MOVED, SELDOM = "MovedWhileHeld", "CommitsSeldom"


class KeepingOnDemand:
    """Of one trainer."""

    def __init__(self, parts: Parts, vault: Vault, beside: Background) -> None:
        self._parts, self._vault, self._beside = parts, vault, beside
        self._on_demand = OnDemand(parts, Resting(parts))
        self._unconfirmed: int | None = None
        self._is_clear = False

    def keep(self, commit: Commit) -> None:
        """Where it lies as it lay, the loop goes on at once: all else that a commit takes is longer than that."""
        self.withdraw()
        noted = self._on_demand.note()
        if noted.held is None or not self._is_clear:
            if (described := self._vault.ready(commit.step, noted.state, noted.own)) is not None:
                self._clear()
                self._stand_by(noted, described, commit)
            return
        own = self._vault.private.pack(noted.own)
        file = self._vault.open().write_private(commit.step, own)  # or a kill now would lose it for all

        def rest() -> None:
            with self._vault.telling.of_errors(is_first=False):
                self._vault.private.tell(commit.step, file)
                described = self._vault.placing.describe(noted.state)
                if self._vault.placing.has_room(described, len(own)):
                    self._stand_by(noted, described, commit)

        self._beside.start(rest)

    def settle(self) -> None:
        """Wait for what goes on beside the loop, and for who shall have the private part of the last commit."""
        self._beside.wait()
        step, self._unconfirmed = self._unconfirmed, None
        if step is not None:
            self._vault.private.wait_for_buddy(step)

    def follow_updates(self) -> None:
        """From now on an update ends what could be kept. To be called once whoever may refuse it is there."""
        for name, optimizer in self._parts.optimizers.items():
            # A closure is forward and backward: while it runs, the last commit is what lies there.
            before_updates([optimizer], partial(self._steps, name), waits_for_closure=True)

    def update_begins(self) -> None:
        """The last commit cannot be kept any more."""
        self.settle()
        if (path := self._on_demand.update_begins()) is not None:
            self._vault.telling.not_kept(
                WRITTEN,
                f"{path} is written after each commit() and before the next step() of an optimizer, as by a forward "
                "with max_norm: no step can be given; call attach() without on_demand=True",
            )

    def publish(self) -> None:
        """Keep the last commit now, where no update has begun since."""
        self._beside.wait()
        self._is_clear = False  # the epoch to come begins with a state that is kept
        promise = self._on_demand.take()
        if promise is None:
            return
        # The update that a lost collective would have spoiled was refused: on a device, too, what lies there is whole.
        commit = promise.commit._replace(is_over=lambda: False, begun=time.monotonic())
        with self._vault.telling.of_errors(is_first=False):
            generation = self._vault.place(promise.described, commit)
            if generation is None:
                return
            generation.copy()
            if (path := promise.watch.written()) is not None:
                generation.abandon()
                self._vault.telling.not_kept(
                    WRITTEN, f"step {commit.step} cannot be given: {path} was written since commit()"
                )
            elif generation.seal():
                self._vault.sealed(generation, commit)

    def withdraw(self) -> None:
        """What was promised cannot be kept any more."""
        self._on_demand.withdraw()

    def _steps(self, name: str) -> None:
        self.update_begins()
        if self._on_demand.has_stepped(name):
            self._vault.telling.once(
                SELDOM,
                f"{name} makes several updates between two commits: who is lost behind the first of them takes the job "
                "to your checkpoint: nothing was copied; commit after each, or call attach() without on_demand=True",
            )

    def _stand_by(self, noted: Noted, described: Described, commit: Commit) -> None:
        self._unconfirmed = commit.step
        if not self._on_demand.promise(noted, described, commit):
            self._vault.telling.not_kept(
                MOVED, f"step {commit.step} could not be given: its tensors lie elsewhere than one step before"
            )

    def _clear(self) -> None:
        """What was kept before is worth less than the user's checkpoint from now on: it goes."""
        if not self._is_clear:
            arena = self._vault.open()
            for slot in arena.seals():
                arena.discard(slot)
            self._is_clear = True
