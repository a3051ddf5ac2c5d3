"""How does a trainer come into an epoch, in a process that outlives the epoch?

It asks for as long as it takes, goes back to what it is answered, and meets the others. Must not know the arena, nor
what is done in an epoch.
"""

import logging
import time
from collections.abc import Callable

from checkpointheal.contract.trainer import EXIT_EPOCH_OVER, Restored
from checkpointheal.errors import AgentGone
from checkpointheal.trainer.epoch import Epoch
from checkpointheal.trainer.membership import Membership
from checkpointheal.trainer.place import Place
from checkpointheal.trainer.restoring import Restoring
from checkpointheal.trainer.stable_group import can_be_smaller

log = logging.getLogger("checkpointheal")


class Entering:
    """One trainer's way into each epoch. `budget`: what it tells its agent of its patience, in seconds."""

    def __init__(self, membership: Membership, restoring: Restoring, place: Place, budget: float) -> None:
        self._membership, self._restoring, self._place, self._budget = membership, restoring, place, budget

    def enter(self, begin: Callable[[], int] | None) -> Epoch | None:
        """The next epoch; None where it ended before it began. `begin` where nobody's memory has a state."""
        begun, has_trained = time.monotonic(), self._place.step is not None or self._membership.has_updated
        answer = self._restoring.ask(self._budget, goes_on=can_be_smaller(), ever=True)
        if answer is None:
            raise AgentGone("a request that is never withdrawn was not answered")
        epoch = self._membership.enter(answer)
        self._restoring.take_place(answer)
        self._membership.modes.put_back(answer.step)  # first: one that leaves evaluation may write its weights
        self._restoring.load(answer, begun)
        self._membership.drop_unfinished()
        epoch.step = _first_step(answer, begin, has_trained=has_trained)
        met = time.monotonic()
        if not self._membership.meet(epoch, answer):
            return None
        self._restoring.joined(time.monotonic() - met)
        self._membership.modes.look()
        self._membership.modes.note(epoch.step)
        return epoch


def _first_step(answer: Restored, begin: Callable[[], int] | None, *, has_trained: bool) -> int:
    if answer.step is None and has_trained and begin is None:
        log.warning("checkpointheal: no memory has a state any more: this process ends, and a new one starts fresh")
        raise SystemExit(EXIT_EPOCH_OVER)
    return answer.step if answer.step is not None else begin() if begin else 0
