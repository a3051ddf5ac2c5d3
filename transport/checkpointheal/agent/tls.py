"""Which TLS does an agent speak: 1.3 alone, its own certificate from memory, and only the gateway's roots believed?

Contexts are made whole and never changed: other roots or another certificate are another context, so an open connection
goes on as it began. Must not know HTTP or the operator.
"""

import os
import ssl
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field

from checkpointheal.contract.base import Frozen
from checkpointheal.contract.trust import Holder


class Papers(Frozen):
    """What an agent shows and whom it believes, as text: the one form in which a child can be given it."""

    model_config = ConfigDict(hide_input_in_errors=True)

    holder: Holder
    roots: str = Field(repr=False)
    chain: str = Field(repr=False)
    key: str = Field(repr=False)

    def client(self) -> ssl.SSLContext:
        """Raises OSError, as the functions below do."""
        return client(self.roots, self.chain, self.key)

    def server(self) -> ssl.SSLContext:
        """Raises OSError, as the functions below do."""
        return server(self.roots, self.chain, self.key)


def holder_of(certificate: Mapping[str, Any], now: float) -> Holder | None:
    """Whose certificate it is, as TLS tells it after verifying it; None where it is nobody's, or over by `now`."""
    if not certificate or ssl.cert_time_to_seconds(certificate["notAfter"]) < now:
        return None
    uris = [name for kind, name in certificate.get("subjectAltName", ()) if kind == "URI"]
    try:
        return Holder.parse(uris[0]) if len(uris) == 1 else None
    except ValueError:
        return None


def trusting(roots: str) -> ssl.SSLContext:
    """For a client that shows no certificate. `roots` is PEM; raises OSError, of which ssl.SSLError is one."""
    return _believing(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), roots)


def client(roots: str, chain: str, key: str) -> ssl.SSLContext:
    """For a client that shows its certificate; raises OSError where chain and key do not belong together."""
    context = trusting(roots)
    _show(context, chain, key)
    return context


def server(roots: str, chain: str, key: str) -> ssl.SSLContext:
    """For a server whose guests must show a certificate; raises OSError as `client` does."""
    context = _believing(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), roots)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # who comes back shows its certificate again: it may have expired
    _show(context, chain, key)
    return context


def _believing(context: ssl.SSLContext, roots: str) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(cadata=roots)
    except (ValueError, TypeError) as error:  # of an empty text, and of one that is not ASCII
        raise ssl.SSLError(f"no roots: {error}") from error
    return context


def _show(context: ssl.SSLContext, chain: str, key: str) -> None:
    """OpenSSL is only given keys by path here; this path is memory of this process alone, and no file."""
    memory = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(memory, (chain + key).encode())
        context.load_cert_chain(f"/proc/self/fd/{memory}")
    finally:
        os.close(memory)
