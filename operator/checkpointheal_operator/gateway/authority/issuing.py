"""Who is given which certificate, and what must be true of the key that asks?

The caller was authenticated before; every name comes from what is known of it. Of the request only the key is read,
once it is known to be small, of an allowed kind, and in the hands of who asks.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from checkpointheal.contract.trust import CSR_LIMIT, Holder, pod_host

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_UID = re.compile(rf"{_LABEL.pattern}(?:\.[1-9][0-9]?)?")
"""Of a pod, or of a seat in it."""
_HOST = re.compile(rf"(?:{_LABEL.pattern}\.)*{_LABEL.pattern}")
_HOST_LIMIT = 253


@dataclass(frozen=True)
class Refused:
    """No certificate, and why. `ours`: the fault is not in the request but in what is known of the caller."""

    reason: str
    message: str
    ours: bool = False


def key_of(csr: str) -> PublicKey | Refused:
    """The key of a certificate request in PEM."""
    if len(csr) > CSR_LIMIT:
        return Refused("RequestTooLarge", f"a certificate request has {CSR_LIMIT} characters at most")
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        key = request.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        return Refused("UnreadableRequest", "this is no PKCS #10 request in PEM")
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) or not _on_p256(key):
        return Refused("KeyNotAllowed", "the key must be on the curve P-256, or Ed25519")
    return key if _is_held(request) else Refused("KeyNotHeld", "the request is not signed with the key that it names")


def _on_p256(key: PublicKey) -> bool:
    return isinstance(key, ed25519.Ed25519PublicKey) or isinstance(key.curve, ec.SECP256R1)


def _is_held(request: x509.CertificateSigningRequest) -> bool:
    try:
        return request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        return False


def names_of(holder: Holder, host: str, reserved: frozenset[str]) -> x509.SubjectAlternativeName | Refused:
    """The names in an agent's certificate. `reserved` are the gateway's: an agent that bears one could pose as it."""
    if not _UID.fullmatch(holder.pod_uid):
        return Refused("BadName", "the pod's uid cannot stand in a certificate", ours=True)
    if host.lower() in reserved:
        return Refused("BadName", "the pod's host is the gateway's own name", ours=True)
    by_host = host_name(host)
    if by_host is None:
        return Refused("BadName", "the pod's host is neither an address nor a name", ours=True)
    identity = x509.UniformResourceIdentifier(holder.uri)
    return x509.SubjectAlternativeName([identity, x509.DNSName(pod_host(holder.pod_uid)), by_host])


def host_name(host: str) -> x509.GeneralName | None:
    """An address, or a name without wildcards; None where it is neither."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host) if len(host) <= _HOST_LIMIT and _HOST.fullmatch(host) else None


def host_names(hosts: Iterable[str]) -> Iterator[x509.GeneralName]:
    """Those of them that can stand in a certificate."""
    return (name for host in hosts if (name := host_name(host)) is not None)


def subject(words: str) -> x509.Name:
    """For people only: nobody is recognised by it."""
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, words)])
