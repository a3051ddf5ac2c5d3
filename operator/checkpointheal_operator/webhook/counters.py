"""What has this webhook done since it started? Plain numbers; whoever publishes them reads them here."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Counters:
    """One per process. `reviews`: by outcome; `seconds`: how long the answered ones took, in all and at most."""

    reviews: Counter[str] = field(default_factory=Counter)
    malformed: int = 0
    oversize: int = 0
    late: int = 0
    seconds: float = 0.0
    slowest: float = 0.0

    def answered(self, outcome: str, seconds: float) -> None:
        """Count one answer."""
        self.reviews[outcome] += 1
        self.seconds += seconds
        self.slowest = max(self.slowest, seconds)
