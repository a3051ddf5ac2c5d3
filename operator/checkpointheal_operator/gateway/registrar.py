"""The authority at work: it answers agents, and keeps the gateway's own certificate fresh.

Effects only: the clock, and a TLS context. The authority decides what is issued; who keeps its roots hands over new
ones.
"""

import os
import ssl
from collections.abc import Callable

from checkpointheal.contract.trust import Holder, Issued
from checkpointheal_operator.gateway.authority import Authority, Refused, Served
from checkpointheal_operator.gateway.authority.terms import Span
from checkpointheal_operator.gateway.caller import Caller


class Registrar:
    """One gateway's. `context` serves new connections with the newest certificate; open ones live on."""

    def __init__(self, authority: Authority, clock: Callable[[], float]) -> None:
        """`clock` tells seconds since 1970."""
        self._authority, self._clock = authority, clock
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._good = self._serve()

    @property
    def trusted(self) -> str:
        """PEM of the roots that are believed now: what injection tells a new pod."""
        return self._authority.trusted(self._clock())

    def certify(self, caller: Caller, csr: str) -> Issued | Refused:
        """A certificate for an authenticated caller, or why it gets none."""
        if caller.member is None or not caller.host:
            return Refused(
                "NotPlaced", f"nothing is known yet of the place or address of pod {caller.pod_uid}", ours=True
            )
        holder = Holder(namespace=caller.namespace, job=caller.job, member=caller.member, pod_uid=caller.pod_uid)
        return self._authority.issue(csr, holder, caller.host, self._clock())

    def take(self, authority: Authority) -> None:
        """Go on with these roots: their keeper has written them down."""
        if authority.roots != self._authority.roots:
            self._authority = authority
            self._good = self._serve()

    def refresh(self) -> bool:
        """Whether the gateway's own certificate was due, and is new. One that was made ahead of the clock is due."""
        due = not self._good.made <= self._clock() < self._good.until
        if due:
            self._good = self._serve()
        return due

    def _serve(self) -> Span:
        served = self._authority.serve(self._clock())
        _load(self.context, served)
        return served.good


def _load(context: ssl.SSLContext, served: Served) -> None:
    """TLS reads its key from a path; this one is memory of this process alone, and no file."""
    memory = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(memory, (served.chain + served.key).encode())
        context.load_cert_chain(f"/proc/self/fd/{memory}")
    finally:
        os.close(memory)
