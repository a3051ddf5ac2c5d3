"""How does one rank of a process group reach the others for a transfer?

Over a channel of the group, on terms of its own, with a lifeline beside it, and not at all where a transfer before has
left something under way. Must not know what is transferred.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial

import torch
from torch.distributed import ProcessGroup

from checkpointheal.channel import at_exit
from checkpointheal.channel.beside import Beside, Lost
from checkpointheal.channel.channel import FOR_GOOD
from checkpointheal.channel.group import GroupChannel
from checkpointheal.channel.patient import Patient
from checkpointheal.ends import Terms
from checkpointheal.errors import Abandoned, Misuse
from checkpointheal.lane import Peer
from checkpointheal.ranks import others
from checkpointheal.standing import Standing
from checkpointheal.underway import Part, Progress, Underway, Watch

Told = Callable[[Progress], None]


class Peers:
    """The ways of one transport. `standing` is what is known of the ranks, `underway` the calls that use them."""

    def __init__(self, group: ProcessGroup, timeout: timedelta, device: torch.device, told: Told | None) -> None:
        """`timeout`: the longest silence, where a call says nothing else. `told`: of every chunk. Raises Misuse."""
        self._group, self._seconds, self._device, self._told = group, _seconds(timeout), device, told
        self.standing, self.underway = Standing(), Underway()

    @property
    def ends_messages_early(self) -> bool:
        """Whether a message may be shorter than the room for it."""
        return self._device.type == "cpu"

    def others(self, named: object) -> tuple[int, ...]:
        """The ranks that a call names, each once. Raises Misuse where one is none, or this process's own."""
        return others(self._group, named)

    def seconds(self, timeout: timedelta | None) -> float:
        """A call's longest silence. Raises Misuse where there is no time in it."""
        return self._seconds if timeout is None else _seconds(timeout)

    def reach(self, rank: int, seconds: float, *, patient: bool = False) -> Peer:
        """The way to a rank. `patient`: it outlives a wait that is given up, and so do the ways to the others.

        Raises PeerLost where the rank was given up, or stays busy.
        """
        terms = self._terms(rank, seconds)
        self.standing.require_free(rank, terms.stall)
        beside = Beside(terms.stall)
        channel = GroupChannel(self._group, rank, _indexed(self._device), partial(self._break_off, rank, beside))
        return Peer(rank, Patient(channel, rank) if patient else channel, terms, beside)

    def _break_off(self, rank: int, beside: Beside) -> None:
        """What is under way with this rank stays so: nothing that came after it would be understood."""
        beside.cut()
        self.standing.give_up(rank, Abandoned("a transfer with it was broken off here"))

    def reach_all(
        self, sources: Sequence[int], following: Sequence[int], seconds: float
    ) -> tuple[list[Peer], list[Peer]]:
        """The ways to those that give and to those that are passed it on. Raises as `reach`."""
        patient = len(sources) + len(following) > 1
        reach = partial(self.reach, seconds=seconds, patient=patient)
        return list(map(reach, sources)), list(map(reach, following))

    def serve(self, ranks: Sequence[int], seconds: float, act: Callable[[Peer], object]) -> None:
        """Do it for each, side by side: nobody's timeout runs while another one is served."""

        def serve(peer: Peer, part: Part) -> None:
            with calling(peer, part) as called:
                act(called)

        self.underway.run([partial(serve, self.reach(rank, seconds)) for rank in ranks])

    def _terms(self, peer: int, seconds: float) -> Terms:
        watch = Watch(self._told, peer, self.underway.left)
        return Terms(math.inf, seconds, watch.crossed, frame=seconds, expect=watch.expect)


@contextmanager
def calling(peer: Peer, part: Part) -> Iterator[Peer]:
    """The peer, whose lifeline is called as soon as it says where."""
    part.when_left(peer.beside.cut)
    with peer.beside, at_exit.ended(peer.channel):
        call = partial(peer.beside.call, whom_to_tell(peer, part))
        yield peer._replace(terms=replace(peer.terms, lifeline=call))


def whom_to_tell(peer: Peer, part: Part) -> Lost:
    """Of a peer's end: the channel, where its waits can be ended, else whoever waits for all of it."""
    return peer.channel.lose if isinstance(peer.channel, Patient) else part.give_up


def _seconds(timeout: timedelta) -> float:
    seconds = timeout.total_seconds()
    if seconds <= 0:
        raise Misuse(
            f"a timeout of {seconds:g} s leaves no time for an answer: give the longest silence that you bear, as "
            "timedelta(seconds=30), or None in a call for the transport's own"
        )
    return min(seconds, FOR_GOOD)


def _indexed(device: torch.device) -> torch.device:
    """The very device: another thread would take `cuda` for its own current one, which is the first."""
    if device.type == "cpu" or device.index is not None:
        return device
    return torch.device(device.type, torch.get_device_module(device).current_device())
