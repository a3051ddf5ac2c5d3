"""How do two agents know each other: by the job's key, or by certificates of the gateway's?

The key says only that somebody belongs to the job, and crosses in clear: good on one machine. A certificate says who it
is, and TLS compares the pod's uid before the first byte. Must not know what agents say to each other.
"""

import hmac
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

from checkpointheal.agent.credentials import Credentials
from checkpointheal.agent.tls import Papers, holder_of
from checkpointheal.contract.orders import Peer
from checkpointheal.contract.trust import Holder, pod_host
from checkpointheal.errors import PeerLost


@dataclass(frozen=True)
class Way:
    """How a peer is spoken to. `name`: what its certificate must bear."""

    scheme: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    tls: ssl.SSLContext | bool = True
    name: str | None = None


class PeerTrust(Protocol):
    """What both sides of a conversation between agents rely on."""

    @property
    def ready(self) -> bool:
        """Whether guests can be let in yet."""

    def way_to(self, peer: Peer) -> Way:
        """Raises PeerLost where there is none yet."""

    def holder(self, certificate: Mapping[str, Any] | None) -> Holder | None:
        """Whom TLS has shown; None: nobody who may come in."""

    def guest(self, request: web.Request) -> Holder | None:
        """Who knocks; None: somebody of the job. Raises HTTPForbidden for everyone else."""


class ByKey:
    """Everyone of a job shows the same key."""

    ready = True

    def __init__(self, key: str) -> None:
        self._shown = f"Bearer {key}"

    def way_to(self, peer: Peer) -> Way:
        """The same to each."""
        del peer
        return Way("http", {"Authorization": self._shown})

    def holder(self, certificate: Mapping[str, Any] | None) -> Holder | None:
        """Nobody: this conversation is in clear."""
        del certificate
        return None

    def guest(self, request: web.Request) -> Holder | None:
        """Somebody who has the key."""
        if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), self._shown.encode()):
            raise _forbidden()
        return None


class ByCertificate:
    """Each shows its own certificate; `credentials` are None until the first one is there."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock` tells seconds since 1970."""
        self._clock = clock
        self.credentials: Credentials | None = None

    @property
    def ready(self) -> bool:
        """Once this agent has a certificate."""
        return self.credentials is not None

    def papers(self) -> Papers | None:
        """What it shows where bytes cross, once it has a certificate."""
        return None if self.credentials is None else self.credentials.papers

    def way_to(self, peer: Peer) -> Way:
        """Only to the very pod that an order names."""
        if self.credentials is None:
            raise PeerLost(f"{peer.pod} is not asked: this agent has no certificate yet")
        return Way("https", tls=self.credentials.client, name=pod_host(peer.pod_uid))

    def holder(self, certificate: Mapping[str, Any] | None) -> Holder | None:
        """It was verified by TLS when its holder came; here it matters whose it is, and that it still lives."""
        holder = holder_of(certificate or {}, self._clock())
        if holder is None or self.credentials is None or not holder.shares_job_with(self.credentials.holder):
            return None
        return holder

    def guest(self, request: web.Request) -> Holder | None:
        """Looked at again at each request: a certificate ends while a connection stays."""
        holder = self.holder(request.get_extra_info("peercert"))
        if holder is None:
            raise _forbidden()
        return holder


def _forbidden() -> web.HTTPForbidden:
    refused = web.HTTPForbidden(text="another job's agent, or none")
    refused.force_close()
    return refused
