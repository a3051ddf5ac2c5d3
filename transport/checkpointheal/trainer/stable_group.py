"""A process group that stays while its inside is replaced.

DDP, FSDP2 and DeviceMesh hold a group, by reference or by name, for as long as they live: they get this one, once. A
collective that is lost with a peer ends without an error and is noted, so that no wrapper is left half-way. Must not
know epochs, steps or states.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Work

from checkpointheal.errors import EpochOver
from checkpointheal.trainer.faults import Faults
from checkpointheal.trainer.mirror import mirror
from checkpointheal.trainer.work import finished, lenient

BACKEND = "checkpointheal"
COLLECTIVES = (
    "_allgather_base",
    "_reduce_scatter_base",
    "all_gather_single",
    "all_gather_single_coalesced",
    "all_to_all_single",
    "allgather",
    "allgather_coalesced",
    "allgather_into_tensor_coalesced",
    "allreduce",
    "allreduce_coalesced",
    "alltoall",
    "alltoall_base",
    "barrier",
    "broadcast",
    "gather",
    "gather_into_tensor",
    "gather_single",
    "recv",
    "recv_anysource",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_single",
    "reduce_scatter_single_coalesced",
    "reduce_scatter_tensor_coalesced",
    "scatter",
    "send",
)


class StableGroup(dist.ProcessGroup):
    """Hands every collective to the group that is inside it at the moment.

    While nothing is inside, it answers as a mirror. `ranks`: of the world, those that it was made for, by which it can
    be made smaller for an epoch.
    """

    def __init__(self, name: str, rank: int, size: int, ranks: Sequence[int] = ()) -> None:
        super().__init__(rank, size)
        self._name = name
        self.ranks = tuple(ranks) or tuple(range(size))
        self._seat = self._own_seat = rank, size
        self._inner: Any = None
        self._coalescing: Any = None
        self._faults = Faults()
        self.when_destroyed: Callable[[StableGroup], None] = lambda _: None

    def fill(self, inner: Any, faults: Faults) -> None:
        """From now on that one is inside; None: nobody is."""
        self._inner, self._faults = inner, faults

    @property
    def inside(self) -> Any:
        """What is."""
        return self._inner

    def shutdown(self) -> None:
        """Torch destroys it."""
        self.when_destroyed(self)

    def sit(self, rank: int, size: int) -> None:
        """From now on it is that place among so many."""
        self._seat = rank, size

    def sit_as_made(self) -> None:
        """It is as large again as it was made."""
        self._seat = self._own_seat

    def getRank(self) -> int:  # noqa: N802 torch's name for it: C++ asks too, the reducer of DDP among others
        """This process's place in it, in this epoch."""
        return self._seat[0]

    def getSize(self) -> int:  # noqa: N802
        """How many are in it, in this epoch: what gradients are divided by."""
        return self._seat[1]

    @property
    def group_name(self) -> str:  # type: ignore[override]
        """The name by which DeviceMesh finds it again; torch's own is kept in the backend that this has none of."""
        return self._name

    def getBackendName(self) -> str:  # noqa: N802 torch's name for it
        """As registered."""
        return BACKEND

    def _get_backend(self, device: torch.device | str) -> Any:
        """What carries them; torch asks it what it can do. Raises RuntimeError, as torch's own, for other devices."""
        where = torch.device(device)
        return super()._get_backend(where) if self._inner is None else self._inner._get_backend(where)  # noqa: SLF001

    def _start_coalescing(self, device: torch.device) -> None:
        """Collectives from here on become one: NCCL's."""
        if self._inner is not None and not self._faults.is_lost:
            self._inner._start_coalescing(device)  # noqa: SLF001
            self._coalescing = self._inner

    def _end_coalescing(self, device: torch.device) -> Work:
        """They begin. Whatever has been lost meanwhile: NCCL would take all that comes later for a part of them."""
        inner, self._coalescing = self._coalescing, None
        if inner is None:
            return finished([], self._faults)
        return self._try(lambda: inner._end_coalescing(device), [])  # noqa: SLF001

    def carry(self, collective: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Work:
        """One collective: inside, or mirrored, or over."""
        faults, inner = self._faults, self._inner
        written = tensors_of(arguments[0]) if arguments else []
        if inner is None:
            if faults.refusal is not None:
                raise faults.refusal
            mirror(collective, arguments, *self._seat)
            return finished(written, faults, collective)
        if not faults.swallows:
            return cast("Work", getattr(inner, collective)(*arguments, **named))
        if faults.is_lost:
            faults.note(EpochOver(f"{collective} was not carried out: the epoch is over"))
            return finished(written, faults, collective)
        faults.queue(written)
        return self._try(lambda: getattr(inner, collective)(*arguments, **named), written, collective)

    def _try(self, begin: Callable[[], Work | None], written: list[torch.Tensor], collective: str = "") -> Work:
        try:
            work = begin()
            if work is None:
                return finished(written, self._faults, collective)
            return lenient(work, written, self._faults, collective)
        except RuntimeError as error:
            if not self._faults.is_lost:
                raise  # it was refused as it was asked: that is the caller's mistake, whatever becomes of the epoch
            self._faults.note(error)
            return finished(written, self._faults, collective)


def can_be_smaller() -> bool:
    """Whether this torch asks a group that is written in Python for its size; 2.6 does not."""
    probe = StableGroup("probe", 0, 2)
    probe.sit(0, 1)
    return bool(probe.size() == 1)


def _carrier(collective: str) -> Callable[..., Work]:
    def carry(self: StableGroup, *arguments: Any, **named: Any) -> Work:
        return self.carry(collective, arguments, named)

    return carry


for _collective in COLLECTIVES:
    setattr(StableGroup, _collective, _carrier(_collective))


def tensors_of(tree: Any) -> list[torch.Tensor]:
    """All that a collective was given, however they are nested."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [tensor for each in tree for tensor in tensors_of(each)] if isinstance(tree, list) else []
