"""What does a program get that names torch's own backend for a group, beside the default one of ours?

One of ours: whatever it names, as gloo for a group of the CPU beside NCCL, is inside of that. Torch's own would meet in
the store of this process alone, and wait for ever. Must not know what is inside.
"""

import functools
from typing import Any, NoReturn

import torch.distributed as dist
from torch.distributed import distributed_c10d

from checkpointheal.errors import Misuse
from checkpointheal.trainer.stable_group import BACKEND, StableGroup

CARRIED = frozenset({"gloo", "nccl"})


def stand_for_named() -> None:
    """From now on, while the default group is one of ours. Torch has no public word for it."""
    for room in (dist, distributed_c10d):
        room.split_group = _refusing(room.split_group)  # type: ignore[attr-defined]
    make = distributed_c10d._new_process_group_helper  # noqa: SLF001

    @functools.wraps(make)
    def make_ours(size: int, rank: int, ranks: list[int], backend: str, *others: Any, **named: Any) -> Any:
        is_ours = bool(ranks) and _is_default_ours() and _is_carried(str(backend))
        return make(size, rank, ranks, BACKEND if is_ours else backend, *others, **named)

    distributed_c10d._new_process_group_helper = make_ours  # type: ignore[assignment]  # noqa: SLF001


def _is_carried(backend: str) -> bool:
    """It may name one for each device, as `cpu:gloo,cuda:nccl`."""
    names = {each.rpartition(":")[2] for each in backend.lower().split(",")}
    return names <= {name for name in CARRIED if name != "nccl" or dist.is_nccl_available()}


def _is_default_ours() -> bool:
    return isinstance(distributed_c10d._world.default_pg, StableGroup)  # noqa: SLF001


def _refusing(split: Any) -> Any:
    @functools.wraps(split)
    def split_group(*arguments: Any, **named: Any) -> Any:
        return _refuse() if _is_default_ours() else split(*arguments, **named)

    return split_group


def _refuse() -> NoReturn:
    raise Misuse("split_group() splits a communicator, which lives for one epoch here: use new_group(), on all ranks")
