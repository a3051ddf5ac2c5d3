"""What is inside a stable group for one epoch: torch's own group, made over the epoch's store.

Knows which connections are its own, so that they can be shut from another thread when a peer is gone; nobody else's are
touched. Must not know stable groups.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, ProcessGroupGloo, Store  # type: ignore[attr-defined]

from checkpointheal.trainer.collectives import Baseline, end_collectives, end_connections, sockets

GLOO_TIMEOUT = timedelta(minutes=30)
"""torch's own for CPU: a step may take that long, and who is lost is told by the agent, not by it."""


def make_inside(store: Store, rank: int, size: int) -> Any:
    """A group over which CPU and, where there is one, CUDA tensors cross; it has torch's collectives by their names.

    Raises RuntimeError where peers are missing.
    """
    gloo = ProcessGroupGloo(PrefixStore("gloo", store), rank, size, GLOO_TIMEOUT)
    if not torch.cuda.is_available() or not dist.is_nccl_available():
        return gloo
    from torch.distributed import ProcessGroupNCCL  # noqa: PLC0415 not in every build of torch

    return _Both(gloo, ProcessGroupNCCL(PrefixStore("nccl", store), rank, size, ProcessGroupNCCL.Options()))


class _Both:
    """Each collective goes where its tensors are."""

    def __init__(self, gloo: Any, nccl: Any) -> None:
        self._gloo, self.nccl = gloo, nccl

    def __getattr__(self, collective: str) -> Any:
        def carry(*arguments: Any, **named: Any) -> Any:
            on_device = collective != "barrier" and _is_cuda(arguments[0])
            return getattr(self.nccl if on_device else self._gloo, collective)(*arguments, **named)

        return carry


def _is_cuda(tree: Any) -> bool:
    return tree.is_cuda if isinstance(tree, torch.Tensor) else bool(tree) and _is_cuda(tree[0])


class Connections:
    """The connections that collectives of one epoch wait on."""

    def __init__(self) -> None:
        self._before = frozenset(inode for _, inode in sockets())
        self._own: frozenset[int] | None = None

    def all_made(self) -> None:
        """Every group of the epoch has met: what comes later is somebody else's."""
        self._own = frozenset(inode for _, inode in sockets()) - self._before

    def end(self, groups: Iterable[object]) -> None:
        """Make every blocked collective of these groups raise. Again and again: ranks connect late."""
        for group in groups:
            if isinstance(group, _Both):
                group.nccl.abort()
        if self._own is None:
            end_collectives(Baseline(self._before))
        else:
            end_connections(self._own)
