"""How does torchft's Manager heal its replicas by this transport?

A `CheckpointTransport` over the group that the Manager configures anew for each quorum. What a transfer knew of the
group would be wrong of the next one, so each has a transport of its own. Must not know the Manager, nor what crosses.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.utils.hooks import RemovableHandle

from checkpointheal.ends import mixed
from checkpointheal.errors import Abandoned, CheckpointHealError, Misuse, Overdue, PeerRefused
from checkpointheal.integrations.lent import Lent
from checkpointheal.pg_transport import PGTransport

try:
    from torchft.checkpointing.transport import CheckpointTransport
    from torchft.process_group import ProcessGroup, ProcessGroupBaby, ProcessGroupWrapper
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"HealTransport is for torchft's Manager, and there is no {error.name}: pip install torchft", name=error.name
    ) from error

_METADATA = "checkpointheal"
T = TypeVar("T")


class HealTransport(CheckpointTransport[T]):  # type: ignore[misc]  # torchft is absent where types are checked
    """What the Manager takes as `checkpoint_transport`. Every replica must have one.

    Args:
        pg: the group that the Manager configures, or one that wraps it.
        timeout: the longest silence, where the Manager says nothing else.
        device: where the group wants its tensors; others are staged.
        state_dict: called once per receive; its tensors are filled in place, and must fit. Without it, all arrives in
            new memory on the CPU, which suits every model, and a quorum that is asynchronous.
        mesh: where received DTensors are laid out if there is no `state_dict`, as for PGTransport.
        staged: True fills live tensors only once all of it is here and verified.
        snapshot: True copies the state before it is sent. Without it, that is done from the first time on that it
            changed under way: a forward pass that goes on beside an asynchronous quorum counts batches, say.
    """

    def __init__(
        self,
        pg: ProcessGroup,
        timeout: timedelta,
        device: torch.device,
        state_dict: Callable[[], Any] | None = None,
        *,
        mesh: DeviceMesh | None = None,
        staged: bool = False,
        snapshot: bool = False,
    ) -> None:
        self._group = pg
        self._transport = partial(
            PGTransport, timeout=timeout, device=device, state_dict=state_dict, mesh=mesh, staged=staged
        )
        self._snapshot = snapshot
        self._busy = threading.Lock()
        self._current: PGTransport | None = None
        self._over = False
        self._spoiled: mixed.Memory = ()

    def metadata(self) -> str:
        """What the Manager tells the others: that a HealTransport sends here."""
        return _METADATA

    def send_checkpoint(self, dst_ranks: Sequence[int], step: int, state_dict: T, timeout: timedelta) -> None:
        """Send it to every rank; returns when each has it, verified.

        Raises as PGTransport does. A recipient that came for another step is PeerRefused.
        """
        with self._transfer() as transport:
            errors = []
            for ranks in [[rank] for rank in dict.fromkeys(dst_ranks)] if _in_child(self._group) else [dst_ranks]:
                try:
                    transport.send_checkpoint(ranks, state_dict, timeout=timeout, snapshot=self._snapshot, step=step)
                except CheckpointHealError as error:
                    errors.append(error)
                    self._snapshot |= isinstance(error, PeerRefused) and error.refusal == "BytesDiffer"
            if errors:
                raise errors[0]

    def recv_checkpoint(self, src_rank: int, metadata: str, step: int, timeout: timedelta) -> T:
        """Receive one. Raises as PGTransport does, Abandoned where another step is sent, before a byte crosses.

        Raises Misuse where the donor has another transport: it would never answer.
        """
        if metadata != _METADATA:
            raise Misuse(f"rank {src_rank} sends by another transport ({metadata}): give every replica a HealTransport")
        with self._transfer() as transport:
            try:
                received: T = transport.recv_checkpoint(src_rank, timeout=timeout, step=step)
            except BaseException:
                self._spoiled = transport.spoiled or self._spoiled
                raise
        self._spoiled = ()
        return received

    def guard(self, module: torch.nn.Module) -> RemovableHandle:
        """Make the module's forward raise TargetInvalid while a transfer's target is a mixture."""
        return module.register_forward_pre_hook(lambda *_: mixed.require_whole((), self._spoiled))

    def declare_whole(self, state: Any = None) -> None:
        """The target holds a state again, by other means than a receive: see PGTransport."""
        mixed.forget(self._spoiled)
        self._spoiled = ()
        self._transport(self._group).declare_whole(state)

    def disallow_checkpoint(self) -> None:
        """Nothing is under way: `send_checkpoint` returns when all of it has crossed."""

    def shutdown(self, wait: bool = True) -> None:
        """Every transfer from now on raises Abandoned. One that is under way ends; without `wait` it is cancelled."""
        self._over = True
        if not wait and (current := self._current) is not None:
            current.cancel()
        elif wait:
            with self._busy:
                pass

    @contextmanager
    def _transfer(self) -> Iterator[PGTransport]:
        with self._busy:
            group: Any = Lent(self._group) if _in_child(self._group) else self._group
            self._current = self._transport(group)
            try:
                if self._over:
                    raise Abandoned("this transport was shut down")
                yield self._current
            except Overdue as error:
                raise Overdue(f"timed out: {error}") from error  # the words that torchft's own say
            finally:
                self._current = None


def _in_child(group: ProcessGroup) -> bool:
    while isinstance(group, ProcessGroupWrapper):
        group = group.parent
    return isinstance(group, ProcessGroupBaby)
