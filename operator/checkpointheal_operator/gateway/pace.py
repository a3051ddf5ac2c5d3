"""How much may one pod ask of the gateway?

All jobs share one loop, so each pod has its share: what it may ask at once, and what every second adds. Who asks for
more waits, and who does not wait for its answers is told to come later. Must not know HTTP.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

A_REQUEST = 4 << 10
"""What a request costs beside its body, in bytes of a body."""
A_SECOND, EACH_FURTHER = 32 * A_REQUEST, 2 * A_REQUEST
"""Of one pod, and of each of its further seats. An agent reports at each commit, and every other second beside that."""
AT_ONCE, EACH_FURTHER_AT_ONCE = 128 * A_REQUEST, 4 * A_REQUEST
"""Twice the largest report; and the first words of every seat, when all of them start."""
PATIENCE = 2.0
"""Seconds that a request waits at most: an agent waits 5 for its answer."""
MANY = 4096
"""Shares that are remembered until those that are whole again are let go."""


class TooMuch(Exception):
    """Come later."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"come again in {math.ceil(seconds)} s")
        self.seconds = math.ceil(seconds)


@dataclass
class Share:
    """What is left, of `most`, at `at`; every second adds `rate`."""

    rate: float
    most: float
    at: float
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.most

    def fill(self, now: float) -> None:
        """Up to `now`."""
        self.left, self.at = min(self.most, self.left + (now - self.at) * self.rate), now

    def spend(self, now: float) -> bool:
        """Take one, where one is left."""
        self.fill(now)
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Pace:
    """Everybody's shares. `clock` tells seconds that only grow."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._shares: dict[str, Share] = {}

    def take(self, pod_uid: str, cost: int, seats: int = 1) -> float:
        """Seconds until the pod of so many seats may have that done. Raises TooMuch, and then nothing was taken."""
        now = self._clock()
        share = self._shares.get(pod_uid) or self._new(pod_uid, seats, now)
        share.fill(now)
        wait = max(0.0, (cost - share.left) / share.rate)
        if wait > PATIENCE:
            raise TooMuch(wait)
        share.left -= cost
        return wait

    def _new(self, pod_uid: str, seats: int, now: float) -> Share:
        if len(self._shares) >= MANY:
            for each in self._shares.values():
                each.fill(now)
            self._shares = {uid: each for uid, each in self._shares.items() if each.left < each.most}
        share = self._shares[pod_uid] = Share(
            A_SECOND + (seats - 1) * EACH_FURTHER, AT_ONCE + (seats - 1) * EACH_FURTHER_AT_ONCE, now
        )
        return share
