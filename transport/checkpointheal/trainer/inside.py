"""What is inside a stable group for one epoch: torch's own group, made over the epoch's store.

Knows which connections are its own, so that they can be shut from another thread when a peer is gone; nobody else's are
touched. Must not know stable groups.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, ProcessGroupGloo, Store  # type: ignore[attr-defined]

from checkpointheal.trainer.collectives import Baseline, end_collectives, end_connections, sockets

CUDA = torch.device("cuda")
GLOO_TIMEOUT = timedelta(minutes=30)
"""torch's own for CPU: a step may take that long, and who is lost is told by the agent, not by it."""
NCCL_TIMEOUT = timedelta(days=30)
"""Never, but for torch's arithmetic. Gloo's raises; this one would let the device go on with what is incomplete."""


class Inside:
    """Torch's own group as a stable one has it; it has that group's collectives by their names.

    A group is destroyed under the interpreter's lock, and waits for threads of its backends that may want that: so its
    backends, which let go of the lock, have to outlive it.
    """

    def __init__(self, group: dist.ProcessGroup, backends: Sequence[Any]) -> None:
        self._group, self._backends = group, backends

    def __getattr__(self, name: str) -> Any:
        return getattr(self._group, name)

    def __del__(self) -> None:
        del self._group


def make_inside(store: Store, rank: int, size: int) -> Inside:
    """A group over which CPU and, where there is one, CUDA tensors cross: what `init_process_group` would make.

    Raises RuntimeError where peers are missing.
    """
    kinds = dist.ProcessGroup.BackendType
    group = dist.ProcessGroup(store, rank, size)
    gloo = ProcessGroupGloo(PrefixStore("gloo", store), rank, size, GLOO_TIMEOUT)
    group._register_backend(torch.device("cpu"), kinds.GLOO, gloo)  # noqa: SLF001 torch has no public word for it
    group._set_default_backend(kinds.GLOO)  # noqa: SLF001 a barrier is gloo's
    if not torch.cuda.is_available() or not dist.is_nccl_available():
        return Inside(group, [gloo])
    from torch.distributed import ProcessGroupNCCL  # noqa: PLC0415 not in every build of torch

    options = ProcessGroupNCCL.Options()
    options._timeout = NCCL_TIMEOUT  # noqa: SLF001 torch has no public word for it
    nccl = ProcessGroupNCCL(PrefixStore("nccl", store), rank, size, options)
    group._register_backend(CUDA, kinds.NCCL, nccl)  # noqa: SLF001
    return Inside(group, [gloo, nccl])


def is_broken(inside: Inside) -> bool:
    """Whether its NCCL has failed or timed out, whatever has become of the collectives. An older torch never says."""
    if CUDA not in inside._device_types:  # noqa: SLF001
        return False
    backend = inside._get_backend(CUDA)  # noqa: SLF001
    return hasattr(backend, "get_error") and backend.get_error().name != "SUCCESS"


def abort(inside: Inside) -> None:
    """End its kernels, and let go of what it has taken on the device; gloo has no word for it."""
    if CUDA in inside._device_types:  # noqa: SLF001
        inside._get_backend(CUDA).abort()  # noqa: SLF001


def part(inside: Inside) -> None:
    """The same where all its members are through with it. Raises RuntimeError where one of them is lost.

    NCCL's abort asks no peer: what this one gave may still lie here, and is read by another.
    """
    if CUDA in inside._device_types:  # noqa: SLF001
        inside.barrier().wait()
        abort(inside)


class Connections:
    """The connections that collectives of one epoch wait on."""

    def __init__(self) -> None:
        self._before = frozenset(inode for _, inode in sockets())
        self._own: frozenset[int] | None = None

    def all_made(self) -> None:
        """Every group of the epoch has met: what comes later is somebody else's."""
        self._own = frozenset(inode for _, inode in sockets()) - self._before

    def end(self, groups: Iterable[Inside]) -> None:
        """Make every blocked collective of these groups raise. Again and again: ranks connect late."""
        for group in groups:
            abort(group)
        if self._own is None:
            end_collectives(Baseline(self._before))
        else:
            end_connections(self._own)
