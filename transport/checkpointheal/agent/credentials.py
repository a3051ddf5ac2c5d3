"""What does this agent show to others, and how does it stay fresh: its token, the roots it believes, its certificate?

The private key is made here, for each certificate anew, and goes nowhere: not over a wire, not to a disk, not to a log.
Must not know what is said to peers or to the operator.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from checkpointheal.agent import tls
from checkpointheal.agent.settings import AgentSettings
from checkpointheal.contract.trust import Holder, Issued
from checkpointheal.errors import Misuse

log = logging.getLogger("checkpointheal.agent")

SOONEST_SECONDS, RETRY_SECONDS, LONGEST_RETRY = 1.0, 0.5, 30.0
LONGEST_FIRST = 2.0
"""Between tries for a first certificate: a member without one cannot be healed, and the operator may just be back."""


class GatewayAccess:
    """How the gateway is spoken to. `tls` is another object whenever other roots are believed."""

    def __init__(self, settings: AgentSettings) -> None:
        """Raises Misuse where the gateway's root is none."""
        self._token, self._file = settings.token, settings.token_file
        self._roots = settings.gateway_root
        try:
            self.tls: ssl.SSLContext | bool = tls.trusting(self._roots) if self._roots else True
        except OSError as error:
            raise Misuse("CHECKPOINTHEAL_GATEWAY_ROOT holds no certificate in PEM") from error

    def token(self) -> str:
        """The token as it stands: the file's is read each time, for a cluster replaces it without a word."""
        if self._file is not None:
            self._token = _read(self._file) or self._token
        return self._token

    def believe(self, roots: str) -> None:
        """From the next connection on, these. Raises OSError, and goes on as before, where they are none."""
        if roots != self._roots:
            self.tls, self._roots = tls.trusting(roots), roots
            log.info("the gateway's roots have changed: the new ones are believed")


def _read(file: Path) -> str:
    """Empty for a moment in which it is not there: the last one may still be good."""
    try:
        return file.read_text().strip()
    except OSError as error:
        log.warning("the token cannot be read: %s", error.strerror)
        return ""


@dataclass(frozen=True)
class Credentials:
    """A certificate as it is used: its text, and the contexts of both sides of a connection."""

    papers: tls.Papers
    server: ssl.SSLContext
    client: ssl.SSLContext

    @property
    def holder(self) -> Holder:
        """Whom it stands for."""
        return self.papers.holder


@dataclass(frozen=True)
class OwnKey:
    """A private key and the request for a certificate to it."""

    pem: str = field(repr=False)
    csr: str

    @classmethod
    def new(cls) -> "OwnKey":
        """On P-256; the request names nobody, for the gateway knows who asks."""
        key = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        form, open_text = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, form, open_text).decode()
        return cls(pem, request.public_bytes(serialization.Encoding.PEM).decode())

    def with_certificate(self, issued: Issued) -> Credentials:
        """Raises OSError where the certificate is not for this key, or the roots are none."""
        papers = tls.Papers(holder=issued.holder, roots=issued.roots, chain=issued.chain, key=self.pem)
        return Credentials(papers, papers.server(), papers.client())


class Renewal:
    """Keeps one agent certified: `ask` sends a request to the gateway, `use` takes what came of it."""

    def __init__(
        self,
        pod_uid: str,
        ask: Callable[[str], Awaitable[Issued | None]],
        use: Callable[[Credentials, str], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`use` is given the credentials and the PEM of the roots that are believed from now on."""
        self._pod_uid, self._ask, self._use, self._sleep = pod_uid, ask, use, sleep

    async def run(self) -> None:
        """A first certificate, then the next one in time, until cancelled. What fails is tried again."""
        failures, longest = 0, LONGEST_FIRST
        while True:
            renew_after = await self._once()
            if renew_after is None:
                failures += 1
                await self._sleep(retry_after(failures, longest))
            else:
                failures, longest = 0, LONGEST_RETRY
                await self._sleep(max(renew_after, SOONEST_SECONDS))

    async def _once(self) -> float | None:
        key = OwnKey.new()
        issued = await self._ask(key.csr)
        if issued is None:
            return None
        if issued.holder.pod_uid != self._pod_uid:
            log.error("the gateway takes this pod for %s: its certificate is not used", issued.holder.pod_uid)
            return None
        try:
            await self._use(key.with_certificate(issued), issued.roots)
        except OSError as error:
            log.error("a certificate of the gateway's cannot be used: %s", error)
            return None
        log.info("certified as %s; the next certificate in %.0f s", issued.holder.uri, issued.renew_after)
        return issued.renew_after


def retry_after(failures: int, longest: float = LONGEST_RETRY) -> float:
    """Seconds until the next try: twice as long each time, within bounds."""
    return min(RETRY_SECONDS * 2.0 ** min(failures - 1, 10), longest)
