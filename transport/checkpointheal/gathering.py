"""What do the lanes of several donors share while one state is gathered?

A lock around the vote, the pool and the sink, and the word that it is over. Must not know channels.
"""

import threading
import time
from collections.abc import Iterable, Sequence

import torch

from checkpointheal.contract.layout import Identity
from checkpointheal.ends import Sink
from checkpointheal.errors import DonorsDisagree
from checkpointheal.session import Pool, elected, require_elected
from checkpointheal.wire import Offer

LOOK = 0.02
"""Seconds between two looks of an idle lane at what others may be late with."""


class Gathering:
    """One state that several donors give. Lanes `tell`, `ask`, `arrive` and `leave`; who gathers does the rest."""

    def __init__(self, sink: Sink, ranks: Iterable[int]) -> None:
        self._changed = threading.Condition()
        self._sink = sink
        self._here, self._awaited = set(ranks), set(ranks)
        self._offers: dict[int, Offer] = {}
        self._accepted: Offer | None = None
        self._pool: Pool | None = None
        self._error: Exception | None = None
        self._sealed = False
        self.bytes_due = self.bytes_here = 0

    def tell(self, rank: int, offer: Offer) -> None:
        """This donor holds that. It may come late: it joins, or `ask` tells it that it was outvoted."""
        with self._changed:
            self._offers[rank] = offer
            self._count(rank)
            if self._pool is not None:
                self._join(rank, self._pool)

    def ask(self, rank: int, seconds: float) -> tuple[int, ...] | None:
        """What to ask this donor for; nothing yet after so many seconds; None: nothing any more.

        Raises BytesDiffer where it was outvoted, and what went wrong here: the donor is to be told.
        """
        end = time.monotonic() + seconds
        with self._changed:
            while not self._sealed:
                self._require_wanted(rank)
                if self._pool is not None and (run := self._pool.ask(rank, time.monotonic())):
                    return run
                if self._pool is not None and not self._pool.trusts(rank):
                    return None
                if (left := end - time.monotonic()) <= 0:
                    return ()
                self._changed.wait(min(left, LOOK))
            self._require_wanted(rank)  # it may have come when all was over
        return None

    def arrive(self, rank: int, index: int, places: Sequence[torch.Tensor], same: bool) -> bool:
        """A chunk came; whether it was the first copy of the right bytes. It lies in the sink then."""
        with self._changed:
            if self._pool is None or self._error is not None:
                return False
            fresh = self._pool.arrive(rank, index, same, time.monotonic()) and self._keep(index, places)
            if self._pool.whole or not same:
                self._changed.notify_all()
            return fresh

    def leave(self, rank: int) -> None:
        """Nothing more comes from this donor."""
        with self._changed:
            self._here.discard(rank)
            if self._pool is not None:
                self._pool.lose(rank)
            self._count(rank)
            self._changed.notify_all()

    def fail(self, error: Exception) -> None:
        """It cannot be had here: every donor is told."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def elected(self) -> Offer | None:
        """The offer that counts, once there is one; None: every donor left before. Raises what went wrong."""
        with self._changed:
            self._changed.wait_for(lambda: self._accepted or self._error or not self._here)
            if self._error is not None:
                raise self._error
            return self._accepted

    def share(self, offer: Offer, due: Iterable[int], run: int) -> None:
        """From now on every donor of this offer is asked for these chunks."""
        chunks = list(due)
        with self._changed:
            self._pool, self.bytes_due = Pool(chunks, run), offer.bytes_of(chunks)
            for rank in self._here & self._offers.keys():
                self._join(rank, self._pool)
            self._changed.notify_all()

    def whole(self) -> bool:
        """True once every chunk is here, False once nobody is left to bring the rest. Raises what went wrong."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_whole() or self._error or not self._here)
            if self._error is not None:
                raise self._error
            return self._is_whole()

    def seal(self) -> None:
        """It counts: the donors are thanked."""
        with self._changed:
            self._sealed = True
            self._changed.notify_all()

    def ended(self, seconds: float | None) -> None:
        """Until every donor was let go, or so many seconds; None: however long it takes."""
        with self._changed:
            self._changed.wait_for(lambda: not self._here, seconds)

    def _count(self, rank: int) -> None:
        self._awaited.discard(rank)
        if self._accepted is None and self._error is None:
            try:
                identity = elected(self._told, len(self._awaited))
            except DonorsDisagree as error:
                self._error = error
            else:
                self._accepted = next((each for each in self._offers.values() if each.identity == identity), None)
            self._changed.notify_all()

    def _require_wanted(self, rank: int) -> None:
        if self._error is not None:
            raise self._error
        if self._accepted is not None:
            require_elected(rank, self._told, self._accepted.identity)

    def _join(self, rank: int, pool: Pool) -> None:
        if self._accepted is not None and self._offers[rank].identity == self._accepted.identity:
            pool.join(rank)

    @property
    def _told(self) -> dict[int, Identity]:
        return {rank: offer.identity for rank, offer in self._offers.items()}

    def _is_whole(self) -> bool:
        return self._pool is not None and self._pool.whole

    def _keep(self, index: int, places: Sequence[torch.Tensor]) -> bool:
        """Whether it lies in the sink. Where it cannot, no donor is to blame, and none can help: it ends for all."""
        try:
            for final, place in zip(self._sink.places(index), places, strict=True):
                final.copy_(place)
            self._sink.keep(index)
        except Exception as error:  # torch's own too; who gathers raises it
            self.fail(error)
            return False
        self.bytes_here += sum(place.numel() for place in places)
        return True
