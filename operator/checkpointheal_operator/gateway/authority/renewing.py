"""Is a server's certificate that lies somewhere still good, or should another one take its place?

Whoever kept it may have lost half of it, or changed it. Pure. Must not know where it lies.
"""

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from checkpointheal_operator.gateway.authority.roots import span
from checkpointheal_operator.gateway.authority.terms import renewal

UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    InvalidSignature,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
)
"""What reading and verifying it may raise."""


@dataclass(frozen=True)
class Pair:
    """PEM of a certificate with its chain, and of its key."""

    chain: str
    key: str = field(repr=False)


def is_good(pair: Pair, names: frozenset[x509.GeneralName], signer: x509.Certificate, now: float) -> bool:
    """Whether it is whole, bears just these names, is signed by the one that signs now, and is young enough."""
    try:
        certificate = x509.load_pem_x509_certificates(pair.chain.encode())[0]
        key = serialization.load_pem_private_key(pair.key.encode(), None)
        certificate.verify_directly_issued_by(signer)
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except UNREADABLE:
        return False
    matches = key.public_key() == certificate.public_key() and frozenset(found) == names
    return matches and span(certificate).made <= now < renewal(span(certificate))
