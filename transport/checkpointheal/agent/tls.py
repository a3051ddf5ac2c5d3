"""Which TLS does an agent speak: 1.3 alone, its own certificate from memory, and only the gateway's roots believed?

Contexts are made whole and never changed: other roots or another certificate are another context, so an open connection
goes on as it began. Must not know HTTP, peers or the operator.
"""

import os
import ssl


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
