"""How is a state passed on while it is still arriving?

What was verified here is given to the next rank, which waits for the rest as this rank does: each chunk crosses every
link of a chain once, and all links are busy at once. Must not know where the state comes from, nor the target.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from pydantic import JsonValue

from checkpointheal import donor
from checkpointheal.contract.layout import Manifest, Schema
from checkpointheal.ends import Sink
from checkpointheal.ends.excuse import Excuse
from checkpointheal.ends.live import LiveSource
from checkpointheal.errors import CheckpointHealError, PeerLost, as_told
from checkpointheal.lane import Peer
from checkpointheal.recipient import Taken
from checkpointheal.wire import Offer


class RegionalSink(Sink, Protocol):
    """A sink whose chunks lie in regions once they are kept."""

    @property
    def regions(self) -> Sequence[torch.Tensor]:
        """One 1-D uint8 tensor per region of the offered schema, once it is prepared."""
        ...


@dataclass(frozen=True)
class _Landed:
    """What arrives, as a state that can be given."""

    schema: Schema
    values: tuple[JsonValue, ...]
    regions: Sequence[torch.Tensor]


class Relay:
    """What one rank has received of a state so far, for the ranks that are to have it next."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._accepted: tuple[Offer, _Landed] | None = None
        self._here: set[int] = set()
        self._error: BaseException | None = None

    def receive(self, take: Callable[[Sink], Taken], sink: RegionalSink) -> Taken:
        """Take the state, and tell of each step. Whatever fails fails for all that wait for it here."""
        try:
            return take(_Tapped(sink, self))
        except BaseException as error:
            self.fail(error)
            raise

    def pass_on(self, peer: Peer, *, whole: bool) -> CheckpointHealError | None:
        """Give it to this rank; why it could not be reached, if so: it takes nothing from what is received here.

        `whole`: the channel cannot end a message early, so what is not to be had goes as zeros.
        """
        offered = self.offered()
        if isinstance(offered, CheckpointHealError):
            return _outcome(lambda: donor.decline(peer.channel, peer.terms, offered))
        offer, landed = offered
        source = _Source(self, LiveSource(landed, offer.chunk_bytes), whole)
        return _outcome(lambda: donor.give_or_excuse(peer.channel, source, offer, peer.terms, whole=whole))

    def offered(self) -> tuple[Offer, _Landed] | CheckpointHealError:
        """The offer that was accepted here, once it was; or why there is none."""
        with self._changed:
            self._changed.wait_for(lambda: self._accepted is not None or self._error is not None)
            return self._accepted or self._why_not()

    def arrived(self, index: int) -> bool:
        """Once this chunk is here, verified: True; False where it will never be. The receive is bounded, so this is."""
        with self._changed:
            self._changed.wait_for(lambda: index in self._here or self._error is not None)
            return index in self._here

    def why_not(self) -> CheckpointHealError:
        """Why the rest will never be here."""
        with self._changed:
            return self._why_not()

    def _why_not(self) -> CheckpointHealError:
        return as_told(self._error or PeerLost("nothing more arrives"))

    def accept(self, offer: Offer, regions: Sequence[torch.Tensor], present: Sequence[str]) -> None:
        """It was found fitting, and this much of it lies here."""
        with self._changed:
            self._here.update(set(range(len(offer.chunks))).difference(offer.missing(present)))
            self._accepted = offer, _Landed(offer.manifest.schema_, offer.manifest.values, regions)
            self._changed.notify_all()

    def keep(self, index: int) -> None:
        """This chunk lies in its regions, verified."""
        with self._changed:
            self._here.add(index)
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Nothing more will arrive."""
        with self._changed:
            self._error = error
            self._changed.notify_all()


def all_of(fits: Callable[[Manifest], Collection[int]]) -> Callable[[Manifest], Collection[int]]:
    """Who passes a state on needs every region, whatever its own target needs."""

    def fit(offered: Manifest) -> Collection[int]:
        fits(offered)
        return range(len(offered.schema_.regions))

    return fit


class _Tapped:
    """A sink that tells the relay."""

    def __init__(self, sink: RegionalSink, relay: Relay) -> None:
        self._sink, self._relay = sink, relay
        self.places, self.seal = sink.places, sink.seal

    def prepare(self, offer: Offer) -> Sequence[str]:
        present = self._sink.prepare(offer)
        self._relay.accept(offer, self._sink.regions, present)
        return present

    def keep(self, index: int) -> None:
        self._sink.keep(index)
        self._relay.keep(index)


class _Source:
    """The arriving state, and an excuse for each chunk that will never be here."""

    def __init__(self, relay: Relay, landed: LiveSource, whole: bool) -> None:
        self._relay, self._landed = relay, landed
        self._excuse = Excuse(whole=whole)
        self.manifest = landed.manifest

    def parts(self, index: int) -> Sequence[torch.Tensor]:
        if self._relay.arrived(index):
            return self._landed.parts(index)
        return self._excuse.parts(self._relay.why_not(), self._landed.lengths(index))


def _outcome(act: Callable[[], object]) -> CheckpointHealError | None:
    try:
        act()
    except CheckpointHealError as error:
        return error
    return None
