"""How long must a donor wait so that it stays under its cap?

A token bucket: it fills with time and holds at most a burst. Must not know a clock.
"""


class Pace:
    """Bytes per second, on average; None: as fast as it goes."""

    def __init__(self, bytes_per_second: float | None, now: float) -> None:
        self._rate, self._free_at = bytes_per_second, now

    def delay(self, now: float, count: int) -> float:
        """Seconds to wait before `count` bytes may go, which are counted as gone then."""
        if not self._rate:
            return 0.0
        start = max(self._free_at, now)
        self._free_at = start + count / self._rate
        return start - now

    def seconds(self, count: int) -> float:
        """How long this many bytes take under the cap."""
        return count / self._rate if self._rate else 0.0
