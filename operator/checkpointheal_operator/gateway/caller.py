"""Who speaks to the gateway, as its token proves?

Must not know HTTP, nor how a token is told from another.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.seats import Seats, seat_uid
from checkpointheal.contract.trust import Issued
from checkpointheal_operator.gateway.authority import Refused


class Caller(NamedTuple):
    """Whom a token stands for: a pod, by its first seat."""

    job: str
    pod_uid: str
    namespace: str = ""
    member: MemberId | None = None
    """None: nothing is known of its place yet, and it gets no certificate."""
    host: str = ""
    """The pod's address, as the cluster tells it."""
    seats: Seats | None = None
    """Who may speak with it; None: only the first seat."""

    @property
    def seat_count(self) -> int:
        """How many may speak with it."""
        return self.seats.count if self.seats is not None else 1

    def at(self, local_rank: int) -> "Caller | None":
        """That seat of its pod; None where the pod has no such seat."""
        if local_rank == 0:
            return self
        if self.seats is None or local_rank >= self.seats.count:
            return None
        member = None if self.member is None else self.seats.member(local_rank)
        return self._replace(pod_uid=seat_uid(self.pod_uid, local_rank), member=member)


Authenticate = Callable[[str], Awaitable[Caller | None]]
"""A bearer token to its caller; None where it is nobody's."""

Certify = Callable[[Caller, str], Issued | Refused]
"""A caller and its PKCS #10 request in PEM to its certificate, or why it gets none."""
