"""A process group that stays while its inside is replaced.

DDP, FSDP2 and DeviceMesh hold a group, by reference or by name, for as long as they live: they get this one, once.
Each epoch puts a new gloo group inside it, made over a store prefix of its own, so that nobody of an earlier epoch can
join. Knows nothing of steps, states or wrappers.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Work

from checkpointheal.trainer.collectives import Baseline, end_collectives
from checkpointheal.trainer.mirror import mirror
from checkpointheal.trainer.stable_group import COLLECTIVES, tensors_of
from checkpointheal.trainer.work import finished, lenient

BACKEND = "stable"


class StableGroup(dist.ProcessGroup):
    """Hands every collective to the group that is inside it at the moment.

    While nothing is inside, it answers as a mirror: every peer holds what this rank holds. So a restarted member may
    wrap its model, which compares shapes and spreads weights, before anybody meets it.
    """

    def __init__(self, name: str, rank: int, size: int, faults: "Faults") -> None:
        super().__init__(rank, size)
        self._name, self._inner, self._faults = name, None, faults

    def open(self, store: dist.Store, timeout: timedelta) -> None:
        """Put a new gloo group inside, when all its members are there; raises RuntimeError where they are not."""
        inside = dist.ProcessGroupGloo(dist.PrefixStore(self._name, store), self.rank(), self.size(), timeout)
        self._inner = inside

    def shut(self) -> None:
        """Take it out."""
        self._inner = None

    @property
    def group_name(self) -> str:
        """The name by which DeviceMesh finds it again; torch's own is kept in the backend that this has none of."""
        return self._name

    def getBackendName(self) -> str:  # noqa: N802 torch's name for it
        """As registered."""
        return BACKEND

    def _carry(self, collective: str, *arguments: Any) -> Work:
        written = tensors_of(arguments[0]) if arguments else []
        if self._inner is None:
            mirror(collective, arguments, self.rank(), self.size())
            return finished(written, self._faults)
        if not self._faults.swallowed:
            return getattr(self._inner, collective)(*arguments)
        if self._faults.noted is not None:
            return finished(written, self._faults)
        try:
            return lenient(getattr(self._inner, collective)(*arguments), written, self._faults)
        except RuntimeError as error:
            self._faults.note(error)
            return finished(written, self._faults)


def _carrier(collective: str) -> Callable[..., Work]:
    def carry(self: StableGroup, *arguments: Any) -> Work:
        return self._carry(collective, *arguments)

    return carry


for _collective in COLLECTIVES:
    setattr(StableGroup, _collective, _carrier(_collective))


class Faults:
    """What went wrong in this epoch, and whether a caller hears of it at once."""

    def __init__(self, *, swallowed: bool) -> None:
        self.swallowed = swallowed
        self.noted: Exception | None = None

    @property
    def is_lost(self) -> bool:
        """Whether a collective that comes now is worth nothing."""
        return self.noted is not None

    def note(self, error: Exception) -> None:
        """The first one counts: those after it follow from it."""
        self.noted = self.noted or error

    def require_of_now(self) -> None:
        """Nobody here waits in one epoch for what was begun in another."""

    def queue(self, written: list[torch.Tensor]) -> None:
        """Where a device has collectives to carry out, a gate asks; there is no device here."""


class StableGroups:
    """Every stable group of this process: the default one, and each that `new_group` or a DeviceMesh asks for."""

    def __init__(self, rank: int, size: int, faults: Faults) -> None:
        self._faults = faults
        self._groups: list[StableGroup] = []
        self._baseline: Baseline | None = None
        dist.Backend.register_backend(BACKEND, self._create, extended_api=True, devices=["cpu"])
        # A store of this process alone: making a stable group asks nobody, so a restarted member can do it by itself.
        dist.init_process_group(BACKEND, store=dist.HashStore(), rank=rank, world_size=size)

    def open(self, store: dist.Store, timeout: timedelta = timedelta(seconds=120)) -> None:
        """Fill every group, in the order in which all ranks made theirs."""
        self._faults.noted = None
        self._baseline = Baseline.take()
        for group in self._groups:
            group.open(store, timeout)

    def end(self, store_port: int) -> None:
        """End what is blocked in a collective. May be called from another thread, and again and again."""
        if self._baseline is not None:
            end_collectives(self._baseline, {store_port})

    def shut(self) -> None:
        """Take every inner group out."""
        for group in self._groups:
            group.shut()

    def _create(self, asked: Any, _options: object) -> StableGroup:
        group = StableGroup(asked.group_id, asked.group_rank, asked.group_size, self._faults)
        self._groups.append(group)
        return group
