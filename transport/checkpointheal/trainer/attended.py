"""How does a trainer take part beside its agent, from its state's way in to its last commit?

It must never slow or kill a healthy trainer. Must not know the operator, and moves no byte to another machine.
"""

import atexit
import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import torch.distributed as dist

from checkpointheal.contract.trainer import Done, EpochOver, Hello
from checkpointheal.errors import Misuse, NoArena
from checkpointheal.trainer import build, rejoining
from checkpointheal.trainer.asking import as_budget
from checkpointheal.trainer.collectives import Baseline, end_collectives
from checkpointheal.trainer.ending import Ending
from checkpointheal.trainer.entering import Entering
from checkpointheal.trainer.epoch import Epoch
from checkpointheal.trainer.groups import groups
from checkpointheal.trainer.heal import Heal
from checkpointheal.trainer.keeping import LOCK_PATIENCE, Keeping
from checkpointheal.trainer.line import Line
from checkpointheal.trainer.membership import Membership
from checkpointheal.trainer.parts import Parts
from checkpointheal.trainer.restoring import Restoring
from checkpointheal.trainer.settings import TrainerSettings
from checkpointheal.trainer.signals import Number, Told
from checkpointheal.trainer.stable_group import can_be_smaller
from checkpointheal.trainer.updates import in_this_process, require_watched

JOINING_GRACE = 1.0
"""Seconds to end for a process that has not trained in its epoch yet.

It has nothing to clean up, and may be connecting to a peer that is gone, which no closed socket interrupts."""


class Attended(Heal):
    """A trainer of whose state its agent keeps what it commits, and which its peers may heal."""

    def __init__(self, parts: Parts, settings: TrainerSettings, arena: Path) -> None:
        super().__init__(parts)
        self._settings = settings
        self._incarnation = settings.incarnation or uuid.uuid4().hex
        self._membership: Membership | None = None
        baseline = Baseline.take()
        self._line = Line(arena, self._hello, self._epoch_over)
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
        """What the agent answers is loaded; None where it did not answer within the budget, or has nothing."""
        seconds = self._settings.restore_budget if budget is None else as_budget(budget)
        self._asked = True
        begun = time.monotonic()
        answer = self._restoring.ask(seconds, goes_on=self._membership is not None and can_be_smaller())
        if answer is None:
            return None
        self._restoring.take_place(answer)
        rejoining.watch(self._settings.store_ports, self._place.has_joined)
        self._restoring.load(answer, begun)
        return answer.step

    def declare_whole(self) -> None:
        """A restore that broke is over."""
        self._restoring.half.ends()

    def epochs(self, begin: Callable[[], int] | None = None) -> Iterator[Epoch]:
        """As the agent begins and ends them."""
        self._asked = True
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

    def may_step(self) -> None:
        """Not where a collective of this step was lost, and not before what is copied beside the loop is copied."""
        if self._odd.are_of_a_fork():
            return
        if self._membership is not None:
            self._membership.may_step()
        self._keeping.update_begins()

    def agree(self, group: dist.ProcessGroup | None = None) -> None:
        """The agent is told how long that took."""
        begun = time.monotonic()
        self._meet(group, protected=True)
        self._restoring.joined(time.monotonic() - begun)

    def commit(self, step: int, *, loss: Number | None = None, grad_norm: Number | None = None) -> bool:
        """Keep what is new, if the epoch stands; leave where it does not."""
        step = self._step_of_commit(step)
        if self._odd.are_of_a_fork():
            return self._place.reach(step)
        self._place.has_joined.set()
        self._keeping.settle()
        if self._membership is not None:
            self._membership.may_step(updates=False)
        if self._place.is_ahead(step):
            self._keep(step, Told(loss=loss, grad_norm=grad_norm))
        else:
            self._look_at(step)
        if self._epoch_now is not None:
            self._epoch_now.require_open()
        elif self._ending.is_over:
            self._ending.end()
        return self._place.reach(step)

    def done(self) -> None:
        """The agent is told, and an epoch that ends takes nobody along any more."""
        if not self._odd.are_of_a_fork():
            self._ending.rest()
            self._line.say(Done(), again="done")
            self._keeping.close()

    def _keep(self, step: int, told: Told) -> None:
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
        elif self._restoring.first_update.is_behind(step):
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
