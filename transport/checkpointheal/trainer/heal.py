"""The trainer's door: restore, agree, commit, done; or epochs, in place of the first two.

It answers one question of a training loop, *where do I start, and what is safe now?*. Must not know who answers: an
agent, through `attended`, or nobody.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch.distributed as dist

from checkpointheal.errors import NotRestored
from checkpointheal.manifest import describe
from checkpointheal.trainer.agreement import Standing, agree, schema_digest
from checkpointheal.trainer.epoch import Epoch
from checkpointheal.trainer.groups import process_group
from checkpointheal.trainer.odd_commits import OddCommits
from checkpointheal.trainer.parts import Parts
from checkpointheal.trainer.place import Place, as_step
from checkpointheal.trainer.signals import Number


class Heal(ABC):
    """One trainer's membership in its job. Made by `attach`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._place = Place()
        self._odd = OddCommits()
        self._asked = False

    @abstractmethod
    def restore(self, budget: float | None = None) -> int | None:
        """Wait for a state and load it.

        Returns the step whose state the objects now hold, or None: then load your own checkpoint, or start fresh.
        `budget` is in seconds (default: CHECKPOINTHEAL_RESTORE_BUDGET, else 240); while the job's policy says
        `fallback: Hold` it does not count. Raises SchemaDiffers or AppliedStateDiffers where the objects cannot hold
        what their peers hold, Misuse where `budget` is no number of seconds; and whatever the parts' own loading
        raises. Where it raised in the middle, a note of the error says so, and `commit` raises TargetInvalid until
        another restore succeeds or `declare_whole` is called.
        """

    @abstractmethod
    def declare_whole(self) -> None:
        """The parts hold one state again, by other means than a restore: loaded from a checkpoint, say."""

    @property
    def epoch(self) -> int:
        """The number of the epoch that `restore()` began; 0 without one. It never comes again, and is equal everywhere.

        A store that outlives the ranks, as torchrun's, needs a prefix made of it: a member of an earlier epoch has left
        its addresses there.
        """
        return self._place.epoch

    @property
    def private_step(self) -> int | None:
        """The earlier step whose private part this rank went on with at the last restore; None: none, as a rule.

        Then its random streams and data position are behind its state, and what follows is not as if nothing had been.
        """
        return self._place.private_step

    def process_group(self) -> dist.ProcessGroup:
        """The default process group, for DDP, FSDP2 and DeviceMesh: it stays while members come and go.

        In place of `init_process_group`; `checkpointheal.process_group` is the same, where wrapping comes first.
        """
        return process_group()

    @abstractmethod
    def epochs(self, begin: Callable[[], int] | None = None) -> Iterator[Epoch]:
        """Each membership in turn, until the body of one ends without an error on all ranks.

            for epoch in heal.epochs():
                with epoch:
                    for step in range(epoch.step, steps): ...

        In place of `restore()` and `agree()`. The state is that of `epoch.step` when an epoch begins. `begin` is called
        where nobody's memory has a state: load your checkpoint and return its step; without it, that is a fresh start.
        After the last one this member is done. Raises BucketsRebuilt, HookCounts or TorchTooOld for a wrapper that
        cannot stay; SchemaDiffers, AppliedStateDiffers or RestoreDisagrees as `restore()` and `agree()` do.
        """

    @property
    def world(self) -> int:
        """How many train together now, those left out of an epoch not counted: what gradients are averaged over."""
        return dist.get_world_size() if dist.is_initialized() else 1

    @abstractmethod
    def may_step(self) -> None:
        """Raise EpochOver where the gradients at hand may be worth nothing; wait for what is copied in the background.

        It runs before every `step()` of an optimizer that `attach` was given; call it before any other update.
        """

    @abstractmethod
    def agree(self, group: dist.ProcessGroup | None = None) -> None:
        """All ranks of the group restored the same thing, or RestoreDisagrees on every one of them. A collective."""

    @abstractmethod
    def commit(self, step: int, *, loss: Number | None = None, grad_norm: Number | None = None) -> bool:
        """The state is whole and belongs to `step` completed updates: keep it. True where the step is new.

        A step that the job had reached before a heal is kept, but is not new: what runs once per step has run. The
        training loop stands still for one copy of the replicated state, or less of it with `attach(background=True)`;
        where no slot is free the generation is skipped, and the loop never waits for one. `loss` and `grad_norm` of the
        step, numbers or tensors of one, are compared with those of peers after a heal; a tensor on a device is read
        behind that copy, so nothing waits for it. Once the epoch is over, the
        process ends here, by SystemExit; among `epochs()` it raises EpochOver instead, and keeps nothing where a
        collective of the step was lost.
        Raises NotRestored; Misuse where `step` is no step; TargetInvalid where a restore, or a receive of this process,
        broke and left the state half filled; in the first commit also UnsupportedLeaf or PrivateStateTooLarge. A step
        that raised one of these is kept by the next commit of it, once that is mended.
        """

    @abstractmethod
    def done(self) -> None:
        """Training is over: this member is not healed any more."""

    def _step_of_commit(self, given: int) -> int:
        if not self._asked:
            raise NotRestored("commit() came before restore(): call restore() once, before the training loop")
        return as_step(given)

    def _meet(self, group: dist.ProcessGroup | None, protected: bool) -> None:
        schema = schema_digest(describe(self._parts.replicated_state()).schema)
        agree(Standing(protected, self._place.epoch, self._place.step, schema), group)
