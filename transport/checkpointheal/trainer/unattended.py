"""What does a trainer's door say where there is no agent?

That training is not protected, once; every call is a cheap no-op from then on, so that one script runs anywhere. Must
not know agents, memory or peers.
"""

import logging
from collections.abc import Callable, Iterator

import torch.distributed as dist

from checkpointheal.trainer.asking import as_budget
from checkpointheal.trainer.epoch import Epoch, alone
from checkpointheal.trainer.heal import Heal
from checkpointheal.trainer.parts import Parts
from checkpointheal.trainer.signals import Number

log = logging.getLogger("checkpointheal")


class Unattended(Heal):
    """A trainer that nothing is kept of. What its user gets wrong is refused as it would be beside an agent."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        log.warning("checkpointheal: CHECKPOINTHEAL_ARENA is not set, so there is no agent: training is not protected")

    def restore(self, budget: float | None = None) -> int | None:
        """None."""
        if budget is not None:
            as_budget(budget)
        self._asked = True
        return None

    def declare_whole(self) -> None:
        """It always was."""

    def epochs(self, begin: Callable[[], int] | None = None) -> Iterator[Epoch]:
        """One, which nobody ends."""
        self._asked = True
        only = alone(begin)
        only.members = self.world
        yield only

    def may_step(self) -> None:
        """It may."""

    def agree(self, group: dist.ProcessGroup | None = None) -> None:
        """Nobody restored anything, or RestoreDisagrees: others may have an agent."""
        self._meet(group, protected=False)

    def commit(self, step: int, *, loss: Number | None = None, grad_norm: Number | None = None) -> bool:
        """Whether the step is new."""
        step = self._step_of_commit(step)
        if self._place.is_behind(step):
            self._odd.lies_behind(step, self._place.step)
        elif self._place.is_ahead(step):
            self._place.step = step
        return self._place.reach(step)

    def done(self) -> None:
        """Nobody needs to know."""
