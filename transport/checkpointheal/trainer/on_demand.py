"""What can a survivor give of its last commit, where nothing was copied then?

What rests lies where it did until the next update begins, so it is given as it lies; whatever else may change was
copied at the commit. Once an update has begun, there is nothing to give until the next commit. Must not know how it is
given.
"""

from dataclasses import dataclass, replace

from checkpointheal.manifest import Described
from checkpointheal.trainer.resting import Resting, Watch
from checkpointheal.trainer.signals import Told


@dataclass(frozen=True)
class Promise:
    """A step that could still be kept."""

    epoch: int
    step: int
    told: Told
    described: Described
    watch: Watch


class OnDemand:
    """The last commit of one trainer, for as long as it stands."""

    def __init__(self, resting: Resting) -> None:
        self._resting = resting
        self._promise: Promise | None = None

    def promise(self, described: Described, epoch: int, step: int, told: Told) -> None:
        """This state belongs to that step, until an update begins."""
        rests = self._resting.of(described)
        pairs = zip(described.regions, rests, strict=True)
        regions = [region if rest else region.clone() for region, rest in pairs]
        self._promise = Promise(epoch, step, told, replace(described, regions=regions), Watch(described, rests))

    def withdraw(self) -> None:
        """An update begins."""
        self._promise = None

    def take(self) -> Promise | None:
        """What can be kept now, once."""
        promise, self._promise = self._promise, None
        return promise
