"""What do many measurements of one thing come to?"""

from collections.abc import Sequence


def percentile(samples: Sequence[float], part: float) -> float:
    """The smallest sample that `part` percent of all are not above."""
    ordered = sorted(samples)
    return ordered[max(0, -(-len(ordered) * int(part * 10) // 1000) - 1)]
