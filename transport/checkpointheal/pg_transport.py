"""How does a training process send its state dict to another one, over a process group that both have?

A drop-in for `torch.distributed.checkpoint._pg_transport.PGTransport`, over the same wire as the agents: no pickle,
each storage once, nothing believed before its digest. Must not know the arena.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import chain, repeat
from typing import Any

import torch
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh
from torch.utils.hooks import RemovableHandle

from checkpointheal import donor, recipient, several
from checkpointheal.channel import at_exit, tell
from checkpointheal.channel.patient import Patient
from checkpointheal.contract.layout import Difference
from checkpointheal.ends import Sink, mixed
from checkpointheal.ends.inplace import LiveSink
from checkpointheal.ends.leaves import NewState
from checkpointheal.ends.live import LiveSource, StagedSink
from checkpointheal.ends.placements import Meshes
from checkpointheal.ends.section import CopiedSource
from checkpointheal.ends.target import LenientTarget, Target
from checkpointheal.errors import CheckpointHealError, Misuse, WorldFailed
from checkpointheal.lane import Peer
from checkpointheal.manifest import describe
from checkpointheal.offering import ATTEMPT, HEAL, offer_of, require_step
from checkpointheal.peers import Peers, calling, whom_to_tell
from checkpointheal.recipient import Taken
from checkpointheal.relay import Relay, all_of
from checkpointheal.session import Expected, refusal
from checkpointheal.told_first import told_first
from checkpointheal.underway import Part, Progress
from checkpointheal.wire import Offer


class PGTransport:
    """Sends and receives state dicts.

    Args:
        pg: any c10d process group that has point-to-point operations.
        timeout: the longest silence: no chunk, or no answer, for this long raises Overdue. A gloo group is then closed.
            More than 23 days count as 23 days.
        device: where the group wants its tensors; others are staged.
        state_dict: called once per receive; its tensors are filled in place. Without it, tensors arrive on the CPU.
        mesh: where received DTensors are laid out if there is no `state_dict`. Without it, those of a mesh as long as
            the default process group are laid out on that group, and others are their local shards.
        strict: False lets the offered state differ from the target as `load_state_dict(strict=False)` does: what only
            one side has is left as it is, dtypes and strides are converted, the containers are the target's. Another
            shape or placement is still refused. `differences` tells what was bridged.
        progress: told how far each transfer has come, chunk by chunk, in the thread that moves it.
        staged: True receives into new memory first, a second copy of the state, and touches nothing live before all of
            it is here and verified. Without it, each chunk goes into the target as soon as it is verified, where the
            target's tensors lie in their storages as the offered ones do, and `strict` is True.
    """

    def __init__(
        self,
        pg: ProcessGroup,
        timeout: timedelta,
        device: torch.device,
        state_dict: Callable[[], Any] | None = None,
        *,
        mesh: DeviceMesh | None = None,
        strict: bool = True,
        progress: Callable[[Progress], None] | None = None,
        staged: bool = False,
    ) -> None:
        self._peers = Peers(pg, timeout, device, progress)
        self._state_dict, self._strict, self._staged = state_dict, strict, staged
        self._meshes = Meshes(mesh, device.type)
        self._differences: tuple[Difference, ...] = ()
        self._unreached: dict[int, CheckpointHealError] = {}
        self._spoiled: mixed.Memory = ()

    @property
    def differences(self) -> tuple[Difference, ...]:
        """What the last receive bridged, where `strict` is False."""
        return self._differences

    @property
    def unreached(self) -> dict[int, CheckpointHealError]:
        """The ranks that the last receive passed the state on to in vain, and why."""
        return self._unreached

    def send_checkpoint(
        self,
        dst_ranks: Sequence[int],
        state_dict: Any,
        *,
        timeout: timedelta | None = None,
        snapshot: bool = False,
        step: int = 0,
    ) -> None:
        """Send it to every rank at once; returns when each has it, verified.

        Nobody may change the tensors meanwhile: a recipient that sees it refuses. With `snapshot` they are copied
        first, and free as soon as the first progress is told. `step` is the state's, for recipients that ask for one.

        Raises UnsupportedLeaf, TargetInvalid or Misuse of `step` (and tells the recipients), PeerRefused, PeerLost or
        Overdue: the first one's error, after all have ended; or Abandoned. Misuse for what is no other rank, and for
        a timeout that is none.
        """
        ranks, seconds = self._peers.others(dst_ranks), self._peers.seconds(timeout)
        if not ranks:
            return
        with self._peers.standing.engaged(ranks):
            with told_first(partial(self._decline_all, ranks, seconds)):
                offer, sources = self._offer(state_dict, step, snapshot=snapshot)
            self._peers.serve(ranks, seconds, lambda peer: self._give(next(sources), offer, peer))

    def recv_checkpoint(
        self,
        src_rank: int | Sequence[int],
        *,
        timeout: timedelta | None = None,
        delta: bool = False,
        relay_to: Sequence[int] = (),
        step: int | None = None,
    ) -> Any:
        """Receive one; the state dict, with the target's own tensors where there is a target.

        From several ranks at once each gives as much as it can, and one that is left is enough. What has arrived is
        passed on to the ranks of `relay_to` while the rest arrives; `unreached` tells which did not get it.

        No byte reaches live memory before it is verified. If the rest never comes, a target that was touched is
        spoiled: what did not come is NaN, and `send_checkpoint` and `guard` raise TargetInvalid until a receive has
        completed. With `delta`, only chunks that differ from what lies in the target cross: after a broken transfer,
        those that had not come. With `step`, a donor that sends another one is refused, before a byte crosses.

        Raises SchemaDiffers, UnknownClass or, for another step, Abandoned (and tells the donors), PeerRefused,
        BytesDiffer, DonorsDisagree, BadFrame, UnknownVersion, PeerLost, Overdue or Abandoned. Misuse for what is no
        other rank, no step or no timeout.
        """
        self._peers.underway.require_whole()
        if step is not None:
            require_step(step)
        sources, following = self._peers.others(src_rank), self._peers.others(relay_to)
        _require_distinct(sources, following)
        seconds = self._peers.seconds(timeout)
        with self._peers.standing.engaged((*sources, *following)):
            givers, takers = self._peers.reach_all(sources, following, seconds)
            return self._receive(givers, takers, Expected(HEAL, ATTEMPT, None, step=step), delta=delta)

    @property
    def spoiled(self) -> mixed.Memory:
        """The target's memory, where the last receive left a mixture in it."""
        return self._spoiled

    def guard(self, module: torch.nn.Module) -> RemovableHandle:
        """Make the module's forward raise TargetInvalid while this transport's target is a mixture."""
        return module.register_forward_pre_hook(lambda *_: mixed.require_whole((), self._spoiled))

    def declare_whole(self, state: Any = None) -> None:
        """The target holds a state again, by other means than a receive: loaded from a checkpoint, say.

        `state`: the live one that does, whichever transport was filling it; by default, what `state_dict` gives.
        """
        mixed.forget(self._spoiled)
        self._spoiled = ()
        if state is None and self._state_dict is not None:
            state = self._state_dict()
        if state is not None:
            mixed.healed(describe(state).regions)

    def cancel(self) -> None:
        """Every send and receive of this transport that waits, in other threads, raises Abandoned at once.

        The peers are told at once. The process group is good for nothing more, and the transport says so.
        """
        self._peers.underway.cancel()

    def _offer(
        self, state_dict: Any, step: int, *, snapshot: bool
    ) -> tuple[Offer, Iterator[LiveSource | CopiedSource]]:
        """What is given, and where each recipient has it from."""
        described = describe(state_dict)
        mixed.require_whole(described.regions, self._spoiled)
        first = CopiedSource(described) if snapshot else LiveSource(described)
        # One recipient's is the very one that was digested: what it packed then it need not pack again.
        others = repeat(first) if snapshot else iter(partial(LiveSource, described), None)
        return offer_of(first, step), chain([first], others)

    def _give(self, source: LiveSource | CopiedSource, offer: Offer, peer: Peer) -> None:
        whole = not self._peers.ends_messages_early
        donor.give_or_excuse(peer.channel, source, offer, peer.terms, whole=whole)

    def _receive(self, givers: Sequence[Peer], takers: Sequence[Peer], expected: Expected, *, delta: bool) -> Any:
        end = self._end(givers, takers)
        sink = self._sink(end, delta, relayed=bool(takers))
        try:
            taken = self._take(givers, takers, sink, expected)
            state = end.fill(taken.offer.manifest, sink.regions)
        except BaseException as error:  # an interrupt leaves a mixture, too
            self._spoiled = sink.give_up(error) or end.give_up(error) or self._spoiled
            raise
        mixed.healed(end.filled)
        self._spoiled, self._differences = (), end.bridged
        return state

    def _take(self, givers: Sequence[Peer], takers: Sequence[Peer], sink: StagedSink, expected: Expected) -> Taken:
        relay = Relay()

        def take(part: Part) -> Taken:
            return relay.receive(partial(self._take_from, givers, expected, part), sink)

        taken: Taken
        taken, *missed = self._peers.underway.run([take, *(partial(self._pass_on, relay, taker) for taker in takers)])
        self._unreached = {taker.rank: error for taker, error in zip(takers, missed, strict=True) if error is not None}
        return taken

    def _take_from(self, givers: Sequence[Peer], expected: Expected, part: Part, sink: Sink) -> Taken:
        if len(givers) > 1:
            return several.take(givers, sink, expected, self._peers.standing.lanes)
        rank, channel, terms, beside = givers[0]
        part.when_left(beside.cut)
        try:
            with beside, at_exit.ended(channel):
                listening = replace(expected, lifeline=beside.listen(whom_to_tell(givers[0], part)))
                return recipient.take(channel, sink, listening, terms)
        except WorldFailed as error:
            if isinstance(channel, Patient):  # nothing closes the group then
                self._peers.standing.give_up(rank, error)
            raise

    def _pass_on(self, relay: Relay, taker: Peer, part: Part) -> CheckpointHealError | None:
        with calling(taker, part) as peer:
            error = relay.pass_on(peer, whole=not self._peers.ends_messages_early)
            if isinstance(error, WorldFailed):
                peer.beside.cut()
                self._peers.standing.give_up(taker.rank, error)
        return error

    def _sink(self, end: Target | LenientTarget | NewState, delta: bool, *, relayed: bool) -> StagedSink:
        if isinstance(end, Target):
            return LiveSink(end, staged=self._staged, delta=delta)
        room = end.room if isinstance(end, NewState) else None
        return StagedSink(all_of(end.require_fit) if relayed else end.require_fit, room)

    def _end(self, givers: Sequence[Peer], takers: Sequence[Peer]) -> Target | LenientTarget | NewState:
        """Where it goes. The user's own function speaks here: whatever it raises, nobody need wait for it."""
        if self._state_dict is None:
            return NewState(self._meshes)
        with told_first(partial(self._tell_all, givers, takers)):
            live = self._state_dict()
            if not self._strict:
                return LenientTarget(live)
            target = Target(live)
            target.settle()
            return target

    def _decline_all(self, ranks: Sequence[int], seconds: float, error: CheckpointHealError) -> None:
        with suppress(CheckpointHealError):  # who cannot be told finds out by its own timeout
            self._peers.serve(ranks, seconds, partial(_decline, error))

    def _tell_all(self, givers: Sequence[Peer], takers: Sequence[Peer], error: CheckpointHealError) -> None:
        """Side by side: whoever is not there costs its timeout, and no more however many there are."""
        telling = [partial(_refuse, error, giver) for giver in givers]
        with suppress(CheckpointHealError):
            self._peers.underway.run([*telling, *(partial(_decline, error, taker) for taker in takers)])


def _refuse(error: CheckpointHealError, giver: Peer, *_part: Part) -> None:
    tell(giver.channel, refusal(error), giver.terms.stall)


def _decline(error: CheckpointHealError, peer: Peer, *_part: Part) -> None:
    donor.decline(peer.channel, peer.terms, error)


def _require_distinct(sources: Sequence[int], relay_to: Sequence[int]) -> None:
    if not sources:
        raise Misuse("no rank is named to receive from")
    if twice := set(sources) & set(relay_to):
        raise Misuse(f"rank {min(twice)} is to give the state and to be passed it")
