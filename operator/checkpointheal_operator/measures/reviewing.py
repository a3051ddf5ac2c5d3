"""What is counted while the webhook answers?"""

from typing import get_args

from checkpointheal_operator.measures import spec
from checkpointheal_operator.measures.page import Register
from checkpointheal_operator.webhook.review import Outcome

UNREAD = ("malformed", "oversize", "late")
"""What came was no review, too much of one, or not all of one."""


class WebhookMetrics(Register):
    """Of one process, from its start. Every outcome is there from the beginning, so that its first time shows."""

    def __init__(self) -> None:
        super().__init__()
        self._reviews, self._seconds = self.counter(spec.REVIEWS), self.histogram(spec.REVIEW_SECONDS)
        for outcome in (*get_args(Outcome), *UNREAD):
            self._reviews.labels(outcome)

    def answered(self, outcome: str, seconds: float) -> None:
        """A review."""
        self._reviews.labels(outcome).inc()
        self._seconds.observe(seconds)

    def unread(self, why: str) -> None:
        """What came was not answered as a review."""
        self._reviews.labels(why).inc()
