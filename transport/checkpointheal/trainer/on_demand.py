"""What can a survivor give of its last commit, where nothing was copied then?

What rests lies where it did until the next update begins, so it is given as it lies; whatever else may change was
copied at the commit. Once an update has begun, there is nothing to give until the next commit. Must not know how it is
given.

While a state lies as it lay, a commit takes note of it, and it is described beside the loop; else it is at once.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from checkpointheal.ends import mixed
from checkpointheal.manifest import Described
from checkpointheal.trainer.moment import Living, address, still
from checkpointheal.trainer.parts import Parts
from checkpointheal.trainer.placing import Commit
from checkpointheal.trainer.resting import Resting, Watch

IN_A_ROW = 3
"""Commits whose weights were written before an update began: by whatever writes them each time, and not now and then,
as who evaluates with an average of them."""


@dataclass(frozen=True)
class Promise:
    """A step that could still be kept."""

    commit: Commit
    described: Described
    watch: Watch


class Held(NamedTuple):
    """What lies in each region of a state, those that do not rest copied; and whether the others are written since."""

    regions: Sequence[torch.Tensor]
    watch: Watch


class Noted(NamedTuple):
    """A moment of a state, to be described later: what peers could give, this rank's own part, and what was held."""

    state: Mapping[str, Any]
    own: Mapping[str, Any]
    held: Held | None
    """None: nothing, so it is described at once."""


class OnDemand:
    """The last commit of one trainer, for as long as it stands."""

    def __init__(self, parts: Parts, resting: Resting) -> None:
        self._parts, self._resting = parts, resting
        self._promise: Promise | None = None
        self._last: Described | None = None
        self._steady: _Steady | None = None
        self._spoilt = 0
        self._updated: set[str] = set()

    def note(self) -> Noted:
        """The state now. Its owners are asked in the training loop: their `state_dict()` may be collective."""
        self._updated.clear()
        state, own = self._parts.replicated_state(), self._parts.private_state()
        if (steady := self._steady) is not None:
            mixed.require_whole(steady.regions)
            with contextlib.suppress(Living):
                noted, addresses = self._still(state)
                # The streams' positions are nobody else's already.
                kept = {
                    name: part if name == "streams" else still(part, torch.Tensor.clone) for name, part in own.items()
                }
                if addresses == steady.addresses:
                    return Noted(noted, kept, steady.hold())
        return Noted(state, own, None)

    def promise(self, noted: Noted, described: Described, commit: Commit) -> bool:
        """It is the state of that commit, until an update begins. False where it lies elsewhere than it was held."""
        has_moved = self._last is None or described.regions is not self._last.regions
        self._last, held = described, noted.held
        if has_moved:
            self._steady = None
        elif self._steady is None:
            self._steady = self._find(described)
        if held is None:
            held = (self._steady or self._find(described)).hold()
        elif has_moved:
            return False
        self._promise = Promise(commit, replace(described, regions=held.regions), held.watch)
        return True

    def withdraw(self) -> None:
        """What stood cannot be kept any more."""
        self._promise = None

    def update_begins(self) -> str | None:
        """That withdraws it. What was written already, if so it was after each of the last commits: by its path."""
        if (promise := self._promise) is None:
            return None
        self.withdraw()
        path = promise.watch.written()
        self._spoilt = 0 if path is None else self._spoilt + 1
        return path if self._spoilt >= IN_A_ROW else None

    def has_stepped(self, optimizer: str) -> bool:
        """This one steps now. Whether it had since the last commit: between the two nothing could be given."""
        before = self._last is not None and optimizer in self._updated
        self._updated.add(optimizer)
        return before

    def take(self) -> Promise | None:
        """What can be kept now, once."""
        self._updated.clear()
        promise, self._promise = self._promise, None
        return promise

    def _still(self, state: Mapping[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """What an optimizer keeps is what only an update writes: it may be looked at later as it is."""
        found: list[torch.Tensor] = []

        def take(tensor: torch.Tensor) -> torch.Tensor:
            found.append(tensor)
            return tensor

        own = self._parts.optimizers
        noted = {name: part if name in own else still(part, take) for name, part in state.items()}
        return noted, list(map(address, found))

    def _find(self, described: Described) -> "_Steady":
        own = tuple(f"{name}." for name in self._parts.optimizers)
        leaves = zip(described.leaves.paths, described.leaves.tensors, strict=True)
        addresses = [address(tensor) for path, tensor in leaves if not path.startswith(own)]
        return _Steady(described, self._resting.of(described), addresses)


class _Steady:
    """A state that lay twice as it lies."""

    def __init__(self, described: Described, rests: Sequence[bool], addresses: Sequence[int]) -> None:
        self.regions, self.addresses = list(described.regions), addresses
        self._moving = [at for at, rest in enumerate(rests) if not rest]
        self._watch = Watch.of(described, rests)

    def hold(self) -> Held:
        """All of it, now. Copies lie in the host's memory: a device's may be full."""
        regions = self.regions.copy()
        for at in self._moving:
            region = regions[at]
            regions[at] = region.clone() if region.is_cpu else region.cpu()
        return Held(regions, self._watch.anew())
