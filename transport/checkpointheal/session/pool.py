"""Which donor is asked for which chunks?

Every donor takes a small run when it has room for one, so a slow one gets less. What a lost one owes goes back. Who has
nothing left to do takes over what others will be late with: the first verified copy counts, and the others are dropped.
Rules that live here: everything that decides who gives what. Must not know the bytes, the channels, or a clock.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from checkpointheal.errors import BadFrame

UNKNOWN_PACE = 0.25
"""Seconds that a chunk takes from a donor of which nothing has come yet."""
PATIENCE = 3.0
"""A chunk that will come so many times later than the idle donor would bring it is asked for once more."""


@dataclass
class _Donor:
    """What one donor owes, oldest first, and how fast it was."""

    owed: deque[int] = field(default_factory=deque)
    asked: set[int] = field(default_factory=set)
    got: int = 0
    busy: float = 0.0
    since: float = 0.0
    """When it last gave something, or was asked while it owed nothing."""
    lies: bool = False

    @property
    def pace(self) -> float:
        """Seconds per chunk."""
        return self.busy / self.got if self.got else UNKNOWN_PACE

    def lag(self, now: float) -> float:
        """Seconds per chunk as they seem now: who is silent gets slower."""
        return max(self.busy / self.got if self.got else 0.0, now - self.since)


class Pool:
    """The chunks of one state. A donor owes its chunks in the order in which it was asked for them."""

    def __init__(self, due: Iterable[int], run: int) -> None:
        self._free = sorted(due)
        self._left = set(self._free)
        self._run = run
        self._donors: dict[int, _Donor] = {}

    @property
    def whole(self) -> bool:
        """Whether every chunk is here, verified."""
        return not self._left

    def join(self, donor: int) -> None:
        """One more that may be asked."""
        self._donors[donor] = _Donor()

    def trusts(self, donor: int) -> bool:
        """Whether it may be asked: it has not given other bytes than it offered, and was not lost."""
        return donor in self._donors and not self._donors[donor].lies

    def ask(self, donor: int, now: float) -> tuple[int, ...]:
        """Chunks to ask this donor for next, ascending; none where there is nothing that it would do better."""
        if not self.trusts(donor):
            return ()
        mine = self._donors[donor]
        run = sorted(self._next(mine) or self._late(mine, now))
        if run and not mine.owed:
            mine.since = now
        mine.owed.extend(run)
        mine.asked.update(run)
        return tuple(run)

    def arrive(self, donor: int, index: int, same: bool, now: float) -> bool:
        """The chunk that this donor owed first came; whether it is to be kept. Raises BadFrame out of order."""
        mine = self._donors.get(donor, _Donor())
        if not mine.owed or mine.owed[0] != index:
            raise BadFrame(f"chunk {index} arrived while {mine.owed[0] if mine.owed else 'nothing'} was due")
        mine.owed.popleft()
        mine.got, mine.busy, mine.since = mine.got + 1, mine.busy + now - mine.since, now
        if not same:
            mine.lies = True
            self._give_back([index])
            return False
        fresh = index in self._left
        self._left.discard(index)
        return fresh

    def lose(self, donor: int) -> None:
        """Nothing more comes from it: what it owes is free again."""
        if donor in self._donors:
            self._give_back(self._donors.pop(donor).owed)

    def _next(self, mine: _Donor) -> list[int]:
        """The first free ones; few towards the end, so that all end together. Not what came from it already."""
        count = min(self._run, -(-len(self._free) // len(self._donors)))
        run = list(islice((index for index in self._free if index not in mine.asked), count))
        for index in run:
            self._free.remove(index)
        return run

    def _late(self, mine: _Donor, now: float) -> list[int]:
        """What others will be late with, the latest first, if this donor is idle."""
        if mine.owed:
            return []
        coming = self._coming(now)
        late = [index for index in coming.keys() - mine.asked if coming[index] > PATIENCE * mine.pace]
        return sorted(late, key=lambda index: (-coming[index], index))[: self._run]

    def _coming(self, now: float) -> dict[int, float]:
        """In how many seconds each missing chunk will be here, from whoever brings it first."""
        coming: dict[int, float] = {}
        for donor in self._donors.values():
            for place, index in enumerate(donor.owed, 1):
                if index in self._left:
                    coming[index] = min(coming.get(index, place * donor.lag(now)), place * donor.lag(now))
        return coming

    def _give_back(self, indices: Iterable[int]) -> None:
        """Free again, where it lacks and nobody else owes it."""
        owed = {index for donor in self._donors.values() for index in donor.owed}
        self._free = sorted({*self._free, *(index for index in indices if index in self._left and index not in owed)})
