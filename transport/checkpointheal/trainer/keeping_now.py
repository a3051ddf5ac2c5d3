"""How is a state kept at its commit: copied before `commit` returns, or beside the training loop?

Beside it, what may be written before the next update is copied at once all the same. Must not know what is done where
nothing is copied at a commit.
"""

import time

from checkpointheal.trainer.background import Background
from checkpointheal.trainer.generation import Generation
from checkpointheal.trainer.parts import Parts
from checkpointheal.trainer.placing import Commit
from checkpointheal.trainer.resting import Resting, Watch
from checkpointheal.trainer.unkept import WRITTEN
from checkpointheal.trainer.vault import Vault


class KeepingNow:
    """Of one trainer; `copies_beside`: until a commit shows that its state is written before an update begins."""

    def __init__(self, parts: Parts, vault: Vault, beside: Background, *, copies_beside: bool) -> None:
        self._parts, self._vault, self._beside, self._copies_beside = parts, vault, beside, copies_beside
        self._resting = Resting(parts)

    def keep(self, commit: Commit) -> None:
        """Make its generation."""
        described = self._vault.ready(commit.step, self._parts.replicated_state(), self._parts.private_state())
        generation = None if described is None else self._vault.place(described, commit)
        if generation is not None and self._copies_beside:
            self._copy_beside(generation, commit)
        elif generation is not None:
            generation.copy()
            if generation.seal():
                self._vault.sealed(generation, commit)

    def settle(self) -> None:
        """Wait for what is copied beside the loop."""
        self._beside.wait()

    def follow_updates(self) -> None:
        """An update ends nothing that was promised."""

    def update_begins(self) -> None:
        """What is copied in the background is, before this returns."""
        self.settle()

    def publish(self) -> None:
        """All is kept that ever will be, once that is settled."""
        self._beside.wait()

    def withdraw(self) -> None:
        """Nothing was promised."""

    def _copy_beside(self, generation: Generation, commit: Commit) -> None:
        """What may be written before the next update at once, the rest beside the loop."""
        rests = self._resting.of(generation.described)
        watch = Watch.of(generation.described, rests)
        generation.copy([not each for each in rests])
        pause = time.monotonic() - commit.begun

        def copy() -> None:
            with self._vault.telling.of_errors(is_first=False):
                generation.copy(rests)
                if (path := watch.written()) is None:
                    if generation.seal():
                        self._vault.sealed(generation, commit, pause)
                    return
                generation.abandon()
                self._copies_beside = False
                self._vault.telling.not_kept(
                    WRITTEN,
                    f"step {generation.step} was not kept: {path} was written between commit() and the next step() of "
                    "an optimizer. From now on commit() copies everything before it returns",
                )

        self._beside.start(copy, generation.described.seen.devices)
