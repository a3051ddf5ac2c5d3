"""How does a connection become a TLS connection, whose other end is known before a byte of ours crosses?

Must not know where the contexts come from, nor what the names mean.
"""

import socket
import ssl
from collections.abc import Mapping
from typing import Any

from checkpointheal.channel.secured import Secured
from checkpointheal.errors import Overdue, PeerLost, UntrustedPeer


def invite(guest: socket.socket, context: ssl.SSLContext, seconds: float) -> Secured:
    """The server's side, with a context that demands a certificate. Raises UntrustedPeer, Overdue or PeerLost."""
    return _shake(guest, context, seconds, None)


def visit(host: socket.socket, context: ssl.SSLContext, name: str, seconds: float) -> Secured:
    """The client's side; the host's certificate bears this name. Raises UntrustedPeer, Overdue or PeerLost."""
    return _shake(host, context, seconds, name)


def shown(connection: Secured) -> Mapping[str, Any]:
    """The certificate that the other end showed."""
    return connection.getpeercert()


def names(certificate: Mapping[str, Any], kind: str) -> list[str]:
    """Its names of this kind: DNS or URI."""
    return [name for its_kind, name in certificate.get("subjectAltName", ()) if its_kind == kind]


def _shake(connection: socket.socket, context: ssl.SSLContext, seconds: float, name: str | None) -> Secured:
    try:
        secured = Secured(connection, context, name)
        secured.shake(seconds)
    except (TimeoutError, OSError) as error:
        connection.close()
        raise _why(error, seconds) from error
    return secured


def _why(error: OSError, seconds: float) -> UntrustedPeer | Overdue | PeerLost:
    if isinstance(error, ssl.SSLCertVerificationError):
        return UntrustedPeer(f"the peer's certificate is not believed: {error.verify_message}")
    if isinstance(error, TimeoutError):
        return Overdue(f"the peer did not shake hands within {seconds:.1f} s")
    if isinstance(error, ssl.SSLError) and error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return UntrustedPeer("the peer shows no certificate")
    return PeerLost(f"the peer does not shake hands: {getattr(error, 'reason', None) or error.strerror or error}")
