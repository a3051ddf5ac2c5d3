"""Why is this member not protected now?

What rooms have found and not yet called over, and what follows from how things stand: from orders, buddies and
certificates. Must not know what follows from it.
"""

import time
from collections.abc import Callable

from checkpointheal.agent.duties import why_withdrawn
from checkpointheal.agent.flaws import Flaws
from checkpointheal.agent.peer_trust import ByCertificate
from checkpointheal.agent.private_parts import PrivateParts
from checkpointheal.contract.orders import Orders
from checkpointheal.contract.report import Flaw

NO_CERTIFICATE = "NoCertificate"
CERTIFIED_WITHIN = 15.0
"""Seconds that a first certificate may take."""
_NO_CERTIFICATE_TOLD = "the gateway has given its agent no certificate: it can neither give nor take a state"


class Unprotected:
    """Every reason, for the report. `certificates`: None where the agent needs none."""

    def __init__(
        self,
        found: Flaws,
        private: PrivateParts,
        orders: Callable[[], Orders],
        certificates: ByCertificate | None,
    ) -> None:
        self._found, self._private, self._orders, self._certificates = found, private, orders, certificates
        self._began = time.monotonic()

    def flaws(self) -> tuple[Flaw, ...]:
        """As of now, in the order of their reasons."""
        following = (self._withdrawn(), self._private.flaw, self._uncertified())
        every = (*self._found.standing(), *(flaw for flaw in following if flaw is not None))
        return tuple(sorted(every, key=lambda flaw: flaw.reason))

    def _withdrawn(self) -> Flaw | None:
        if not (orders := self._orders()).withdrawn:
            return None
        reason, message = why_withdrawn(orders)
        return Flaw(reason=reason, message=message)

    def _uncertified(self) -> Flaw | None:
        is_late = time.monotonic() >= self._began + CERTIFIED_WITHIN
        if self._certificates is None or self._certificates.ready or not is_late:
            return None
        return Flaw(reason=NO_CERTIFICATE, message=_NO_CERTIFICATE_TOLD)
