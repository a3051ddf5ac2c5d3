"""Is a rank of the group free for another transfer?

A wait that was given up leaves its message under way: whatever came next would be taken for it. So would the messages
of two calls at once. Must not know what crosses.
"""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from checkpointheal.errors import Misuse, PeerLost, WorldFailed
from checkpointheal.lane import Lane


class Standing:
    """What is known of the ranks from the transfers before."""

    def __init__(self) -> None:
        self.lanes: dict[int, Lane] = {}
        """Donors that may still be busy with what they were asked for."""
        self._given_up: dict[int, WorldFailed] = {}
        self._lock = threading.Lock()
        self._engaged: set[int] = set()

    @contextmanager
    def engaged(self, ranks: Collection[int]) -> Iterator[None]:
        """They are a call's, until it has ended. Raises Misuse where another call has one of them."""
        with self._lock:
            if both := self._engaged.intersection(ranks):
                raise Misuse(
                    f"rank {min(both)} is in a transfer over this transport already: wait for that call, or "
                    "make another group, and a transport on it"
                )
            self._engaged.update(ranks)
        try:
            yield
        finally:
            with self._lock:
                self._engaged.difference_update(ranks)

    def give_up(self, rank: int, error: WorldFailed) -> None:
        """Nothing more is said to this rank over this group."""
        self._given_up[rank] = error

    def require_free(self, rank: int, seconds: float) -> None:
        """Wait so long for a lane to end. Raises PeerLost where the rank was given up, or is busy after that."""
        lane = self.lanes.get(rank)
        if lane is not None:
            lane.thread.join(seconds)
            if lane.thread.is_alive():
                raise PeerLost(
                    f"rank {rank} is still busy with what it was asked for before: wait, or make another group"
                )
            if isinstance(lane.error, WorldFailed):
                self.give_up(rank, lane.error)
            del self.lanes[rank]
        if (why := self._given_up.get(rank)) is not None:
            raise PeerLost(f"rank {rank} was given up before ({why}): make another group, and a transport on it")
