"""How does a training process send its state dict to another one, over a process group that both have?

A drop-in for `torch.distributed.checkpoint._pg_transport.PGTransport`, over the same wire as the agents: no pickle,
each storage once, nothing believed before its digest. Must not know the arena.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import torch
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh

from checkpointheal import digest, donor, recipient
from checkpointheal.channel import Channel, tell
from checkpointheal.channel.group import GroupChannel
from checkpointheal.contract.layout import Identity, Schema
from checkpointheal.ends import Terms
from checkpointheal.ends.leaves import Target, make
from checkpointheal.ends.live import LiveSource, StagedSink
from checkpointheal.ends.placements import require_mesh
from checkpointheal.errors import CheckpointHealError
from checkpointheal.manifest import Described, describe
from checkpointheal.session import Expected, refusal
from checkpointheal.wire import Offer

_HEAL, _ATTEMPT, _STEP = "library", 1, 0
"""A process group has no attempts and a state dict no step: who calls knows what it sends."""


class PGTransport:
    """Sends and receives state dicts.

    Args:
        pg: any c10d process group that has point-to-point operations.
        timeout: the longest silence: no chunk, or no answer, for this long raises Overdue. A gloo group is then closed.
        device: where the group wants its tensors; others are staged.
        state_dict: called once per receive; its tensors are filled in place. Without it, tensors arrive on the CPU.
        mesh: where received DTensors are laid out if there is no `state_dict`. Without it, they are their local shards.
    """

    def __init__(
        self,
        pg: ProcessGroup,
        timeout: timedelta,
        device: torch.device,
        state_dict: Callable[[], Any] | None = None,
        *,
        mesh: DeviceMesh | None = None,
    ) -> None:
        self._group, self._timeout, self._device = pg, timeout, device
        self._state_dict, self._mesh = state_dict, mesh

    def send_checkpoint(self, dst_ranks: Sequence[int], state_dict: Any, *, timeout: timedelta | None = None) -> None:
        """Send it to every rank at once; returns when each has it, verified.

        Nobody may change the tensors meanwhile: a recipient that sees it refuses. Raises UnsupportedLeaf (and tells the
        recipients), PeerRefused, PeerLost or Overdue: the first one's error, after all have ended.
        """
        terms = self._terms(timeout)
        if not dst_ranks:
            return
        try:
            described = describe(state_dict)
        except CheckpointHealError as error:
            self._to_each(dst_ranks, partial(donor.decline, error=error, terms=terms))
            raise
        offer = _offer(described)
        self._to_each(dst_ranks, lambda channel: donor.give(channel, LiveSource(described), offer, terms))

    def recv_checkpoint(self, src_rank: int, *, timeout: timedelta | None = None) -> Any:
        """Receive one; the state dict, with the target's own tensors where there is a target.

        Nothing live is touched before all of it is here and verified. Raises SchemaDiffers (and tells the donor),
        PeerRefused, BytesDiffer, BadFrame, UnknownVersion, PeerLost or Overdue.
        """
        channel, terms = GroupChannel(self._group, src_rank, self._device), self._terms(timeout)
        target = self._target(channel, terms)
        sink = StagedSink(target.require_fit if target else self._require_mesh)
        taken = recipient.take(channel, sink, Expected(_HEAL, _ATTEMPT, None), terms)
        manifest = taken.offer.manifest
        return target.fill(manifest, sink.regions) if target else make(manifest, sink.regions, self._mesh)

    def _target(self, channel: Channel, terms: Terms) -> Target | None:
        try:
            return Target(self._state_dict()) if self._state_dict else None
        except CheckpointHealError as error:
            tell(channel, refusal(error), terms.stall)
            raise

    def _require_mesh(self, schema: Schema) -> None:
        if self._mesh is not None:
            require_mesh(schema, self._mesh)

    def _to_each(self, ranks: Sequence[int], act: Callable[[Channel], object]) -> None:
        """Side by side: nobody's timeout runs while another one is served."""
        channels = [GroupChannel(self._group, rank, self._device) for rank in ranks]
        with ThreadPoolExecutor(len(channels), thread_name_prefix="checkpointheal-donor") as threads:
            served = [threads.submit(act, channel) for channel in channels]
        for done in served:
            done.result()

    def _terms(self, timeout: timedelta | None) -> Terms:
        seconds = (timeout or self._timeout).total_seconds()
        return Terms(deadline=math.inf, stall=seconds, frame=seconds)


def _offer(described: Described) -> Offer:
    source = LiveSource(described)
    schema, chunks = digest.schema_digest(described.schema), source.digests()
    return Offer(
        heal=_HEAL,
        attempt=_ATTEMPT,
        identity=Identity(
            step=_STEP, schema_digest=schema, state_digest=digest.state_digest(schema, described.values, chunks)
        ),
        manifest=source.manifest,
        chunk_bytes=digest.CHUNK_BYTES,
        chunks=chunks,
    )
