"""What is counted while the webhook answers?"""

from collections.abc import Iterable

from checkpointheal_operator.measures import spec
from checkpointheal_operator.measures.page import Register

UNREAD = ("malformed", "oversize", "late")
"""What came was no review, too much of one, or not all of one."""


class WebhookMetrics(Register):
    """Of one process, from its start. `outcomes`: all that a review may have, so that the first of each shows."""

    def __init__(self, outcomes: Iterable[str]) -> None:
        super().__init__()
        self._reviews, self._seconds = self.counter(spec.REVIEWS), self.histogram(spec.REVIEW_SECONDS)
        for outcome in (*outcomes, *UNREAD):
            self._reviews.labels(outcome)

    def answered(self, outcome: str, seconds: float) -> None:
        """A review."""
        self._reviews.labels(outcome).inc()
        self._seconds.observe(seconds)

    def unread(self, why: str) -> None:
        """What came was not answered as a review."""
        self._reviews.labels(why).inc()
