"""How did the first steps of the epoch under way go, as far as anybody can compare?

Digests come late and slots are overwritten, so what was read of a step is kept here. The first ones it is and not the
latest: they stay to be compared however fast steps follow each other. Must not know who compares them.
"""

from collections.abc import Iterable

from checkpointheal.contract.orders import EpochOrder
from checkpointheal.contract.report import Generation, Passed
from checkpointheal.contract.signals import Signals

LIMIT = 64
"""Steps that are kept at most, whatever is asked for."""


class PassedSteps:
    """Those of one epoch, which the operator names."""

    def __init__(self) -> None:
        self._epoch, self._count = 0, 0
        self._steps: dict[int, Passed] = {}
        self._committed: set[int] = set()

    @property
    def steps(self) -> tuple[Passed, ...]:
        """What is known of each, ascending."""
        return tuple(self._steps[step] for step in sorted(self._steps))

    def want(self, order: EpochOrder | None) -> None:
        """As many of its first steps as it asks for. Those of one that is over stay to be compared until the next.

        So do those of one that nobody looks after any more: whoever comes next may ask for them.
        """
        if order is None or order.over:
            return
        if order.epoch != self._epoch:
            self._steps, self._committed = {}, set()
        self._epoch, self._count = order.epoch, min(order.probation, LIMIT)
        self._committed = {*sorted(self._committed)[: self._count]}
        kept = self._committed | {*self._read[: self._count]}
        self._steps = {step: passed for step, passed in self._steps.items() if step in kept}

    def signals(self, epoch: int, step: int, said: Signals | None) -> None:
        """The trainer has committed it."""
        if (passed := self._of(epoch, step, has_room=len(self._committed) < self._count)) is not None:
            self._committed.add(step)
            self._steps[step] = passed.but(signals=said)

    def see(self, generations: Iterable[Generation]) -> None:
        """What the arena holds now; of what it held before, the digests stay.

        Steps that nobody has read through take no place from those that can be compared.
        """
        for each in sorted(generations, key=lambda generation: generation.step):
            passed = self._of(each.epoch, each.step, has_room=len(self._read) < self._count)
            if passed is not None and each.state_digest is not None:
                self._steps[each.step] = passed.but(schema_digest=each.schema_digest, state_digest=each.state_digest)

    @property
    def _read(self) -> list[int]:
        return [each.step for each in self.steps if each.state_digest is not None]

    def _of(self, epoch: int | None, step: int, *, has_room: bool) -> Passed | None:
        if epoch != self._epoch or not (step in self._steps or has_room):
            return None
        return self._steps.get(step) or Passed(step=step, epoch=self._epoch)
