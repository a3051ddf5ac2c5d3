"""The trainer's door: restore, agree, commit, done; or epochs, in place of the first two.

It answers one question of a training loop, *where do I start, and what is safe now?*, and must never slow or kill a
healthy trainer: without an agent every call is a cheap no-op that says so once. Must not know the operator, and moves
no byte to another machine.
"""

import atexit
import contextlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator

import torch.distributed as dist

from checkpointheal.contract.trainer import Done, EpochOver, Hello
from checkpointheal.errors import Misuse, NoArena, NotRestored
from checkpointheal.manifest import describe
from checkpointheal.trainer import build, rejoining
from checkpointheal.trainer.agreement import Standing, agree, schema_digest
from checkpointheal.trainer.asking import as_budget
from checkpointheal.trainer.collectives import Baseline, end_collectives
from checkpointheal.trainer.ending import Ending
from checkpointheal.trainer.entering import Entering
from checkpointheal.trainer.epoch import Epoch, alone
from checkpointheal.trainer.groups import groups, process_group
from checkpointheal.trainer.keeping import LOCK_PATIENCE, Keeping
from checkpointheal.trainer.line import Line
from checkpointheal.trainer.membership import Membership
from checkpointheal.trainer.odd_commits import OddCommits
from checkpointheal.trainer.parts import Parts
from checkpointheal.trainer.place import Place, as_step
from checkpointheal.trainer.restoring import Restoring
from checkpointheal.trainer.settings import TrainerSettings
from checkpointheal.trainer.signals import Number, Told
from checkpointheal.trainer.stable_group import can_be_smaller
from checkpointheal.trainer.updates import in_this_process, require_watched

log = logging.getLogger("checkpointheal")

JOINING_GRACE = 1.0
"""Seconds to end for a process that has not trained in its epoch yet.

It has nothing to clean up, and may be connecting to a peer that is gone, which no closed socket interrupts."""


class Heal:
    """One trainer's membership in its job. Made by `attach`."""

    def __init__(self, parts: Parts, settings: TrainerSettings) -> None:
        self._parts, self._settings = parts, settings
        self._incarnation = settings.incarnation or uuid.uuid4().hex
        self._place = Place()
        self._asked = False
        self._odd = OddCommits()
        self._line: Line | None = None
        self._membership: Membership | None = None
        if settings.arena is None:
            log.warning(
                "checkpointheal: CHECKPOINTHEAL_ARENA is not set, so there is no agent: training is not protected"
            )
            return
        baseline = Baseline.take()
        self._line = Line(settings.arena, self._hello, self._epoch_over)
        self._keeping = Keeping(parts, settings, self._incarnation, self._line)
        self._restoring = Restoring(parts, self._line, self._keeping, self._place)
        with contextlib.ExitStack() as refused:
            refused.callback(self._keeping.close)
            with contextlib.suppress(NoArena):  # the agent may come later than its trainer
                self._keeping.open(LOCK_PATIENCE)
            # What stays in the process, and on the user's optimizers, comes last: who is refused leaves nothing behind.
            self._keeping.hold_updates_up()
            refused.pop_all()
        self._ending = Ending(lambda: end_collectives(baseline, settings.store_ports))
        if settings.on_demand:
            atexit.register(in_this_process(self._keeping.publish))
        self._line.start()

    def restore(self, budget: float | None = None) -> int | None:
        """Wait for a state and load it.

        Returns the step whose state the objects now hold, or None: then load your own checkpoint, or start fresh.
        `budget` is in seconds (default: CHECKPOINTHEAL_RESTORE_BUDGET, else 240); while the job's policy says
        `fallback: Hold` it does not count. Raises SchemaDiffers or AppliedStateDiffers where the objects cannot hold
        what their peers hold, Misuse where `budget` is no number of seconds; and whatever the parts' own loading
        raises. Where it raised in the middle, a note of the error says so, and `commit` raises TargetInvalid until
        another restore succeeds or `declare_whole` is called.
        """
        seconds = self._settings.restore_budget if budget is None else as_budget(budget)
        self._asked = True
        if self._line is None:
            return None
        begun = time.monotonic()
        answer = self._restoring.ask(seconds, goes_on=self._membership is not None and can_be_smaller())
        if answer is None:
            return None
        self._restoring.take_place(answer)
        rejoining.watch(self._settings.store_ports, self._place.has_joined)
        self._restoring.load(answer, begun)
        return answer.step

    def declare_whole(self) -> None:
        """The parts hold one state again, by other means than a restore: loaded from a checkpoint, say."""
        if self._line is not None:
            self._restoring.half.ends()

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
        self._asked = True
        if self._line is None:
            only = alone(begin)
            only.members = self.world
            yield only
            return
        require_watched(self._parts, "heal.epochs()")
        membership = Membership(self._parts, self._line, groups(), self._settings.member.coordinate)
        self._membership = membership
        self._keeping.follow_updates()
        entering = Entering(membership, self._restoring, self._place, self._settings.restore_budget)
        while (epoch := membership.epoch) is None or not epoch.is_last:
            if epoch is not None:
                membership.leave(epoch)
                self._keeping.publish()
            epoch = entering.enter(begin)
            if epoch is not None:
                try:
                    yield epoch
                    epoch.require_entered()
                finally:
                    if epoch.is_last:  # who leaves the loop by `break` or `return` does not come back for more
                        membership.finish(epoch)
                        self.done()

    @property
    def world(self) -> int:
        """How many train together now, those left out of an epoch not counted: what gradients are averaged over."""
        return dist.get_world_size() if dist.is_initialized() else 1

    def may_step(self) -> None:
        """Raise EpochOver where the gradients at hand may be worth nothing; wait for what is copied in the background.

        It runs before every `step()` of an optimizer that `attach` was given; call it before any other update.
        """
        if self._line is None or self._odd.are_of_a_fork():
            return
        if self._membership is not None:
            self._membership.may_step()
        self._keeping.update_begins()

    def agree(self, group: dist.ProcessGroup | None = None) -> None:
        """All ranks of the group restored the same thing, or RestoreDisagrees on every one of them. A collective."""
        begun = time.monotonic()
        schema = schema_digest(describe(self._parts.replicated_state()).schema)
        agree(Standing(self._line is not None, self._place.epoch, self._place.step, schema), group)
        if self._line is not None:
            self._restoring.joined(time.monotonic() - begun)

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
        if not self._asked:
            raise NotRestored("commit() came before restore(): call restore() once, before the training loop")
        step = as_step(step)
        if self._line is not None and self._odd.are_of_a_fork():
            return self._place.reach(step)
        self._place.has_joined.set()
        if self._line is not None:
            self._keeping.settle()
        if self._membership is not None:
            self._membership.may_step(updates=False)
        if self._place.is_ahead(step):
            self._keep(step, Told(loss=loss, grad_norm=grad_norm))
        else:
            self._look_at(step)
        if self._epoch_now is not None:
            self._epoch_now.require_open()
        elif self._line is not None and self._ending.is_over:
            self._ending.end()
        return self._place.reach(step)

    def done(self) -> None:
        """Training is over: this member is not healed any more."""
        if self._line is not None and not self._odd.are_of_a_fork():
            self._ending.rest()
            self._line.say(Done(), again="done")
            self._keeping.close()

    def _keep(self, step: int, told: Told) -> None:
        if self._line is not None:
            self._restoring.first_update.forget()
            self._require_epochs()
            if self._membership is not None:
                self._membership.modes.note(step)
            self._keeping.keep(self._place.epoch, step, self._is_over, told)
            if self._membership is not None:
                self._membership.leave_together()
        self._place.step = step  # where that raised, the same step may be committed again

    def _look_at(self, step: int) -> None:
        """Nothing is kept of a step that is there already; but it may be counted wrong."""
        if self._place.is_behind(step):
            self._odd.lies_behind(step, self._place.step)
        elif self._line is not None and self._restoring.first_update.is_behind(step):
            self._odd.comes_late(step)

    def _require_epochs(self) -> None:
        if self._settings.on_demand and self._membership is None:
            raise Misuse(
                "attach(on_demand=True) is for heal.epochs(): with restore() every survivor's process ends with its "
                "epoch, and nothing would be left to give"
            )

    def _hello(self) -> Hello:
        return Hello(
            role="trainer",
            incarnation=self._incarnation,
            pid=os.getpid(),
            epoch=self._place.epoch,
            behind=self._parts.may_be_behind,
            build=build.of_this_process(),
        )

    def _epoch_over(self, told: EpochOver) -> None:
        # Before the first answer, what is over is the epoch of the process before this one.
        if 0 < self._place.epoch <= told.epoch and self._membership is not None:
            self._membership.end(told)
        elif 0 < self._place.epoch <= told.epoch:
            seconds = told.deadline if self._place.has_joined.is_set() else min(told.deadline, JOINING_GRACE)
            self._ending.begin(told.but(deadline=seconds))

    @property
    def _epoch_now(self) -> Epoch | None:
        return None if self._membership is None else self._membership.epoch

    def _is_over(self) -> bool:
        return self._ending.is_over if self._epoch_now is None else self._epoch_now.is_over
