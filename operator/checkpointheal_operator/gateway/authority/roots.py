"""What is a root: its certificate, its key, and its predecessor's word for it?

The predecessor signs each new root's key. A pod that was told only the old root when it was made can so verify what the
new one signs, for as long as the old one lives. Must not know who is given certificates.
"""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from checkpointheal_operator.gateway.authority.terms import Span, Terms

_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\n?", re.DOTALL)


class UnreadableRoots(ValueError):
    """The text that was kept holds no roots. Nothing is made in their place: every agent would be a stranger."""


@dataclass(frozen=True)
class Root:
    """One root, known by its certificates. `cross` is the same name and key under the predecessor's signature."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(compare=False)
    cross: x509.Certificate | None = None

    @property
    def span(self) -> Span:
        """From the moment at which its certificate begins to count."""
        return span(self.certificate)

    def __repr__(self) -> str:
        return f"Root({self.certificate.subject.rfc4514_string()})"


def span(certificate: x509.Certificate) -> Span:
    """When it counts."""
    return Span(certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp())


def moment(seconds: float) -> datetime.datetime:
    """Seconds since 1970 as certificates tell time."""
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)


def make_root(now: float, terms: Terms, predecessor: Root | None) -> Root:
    """A new one with a key of its own. `predecessor`: one that counts at some time of the new one's life, if any."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"CheckpointHeal root {serial:x}"[:64])])
    own = _authority(name, key, Span(now - terms.skew, now + terms.root)).issuer_name(name).serial_number(serial)
    certificate = _signed(own, key, key.public_key())
    if predecessor is None:
        return Root(certificate, key)
    both = Span(max(now - terms.skew, predecessor.span.made), min(now + terms.root, predecessor.span.until))
    crossed = _authority(name, key, both).issuer_name(predecessor.certificate.subject)
    cross = _signed(crossed.serial_number(x509.random_serial_number()), predecessor.key, predecessor.key.public_key())
    return Root(certificate, key, cross)


def _authority(name: x509.Name, key: ec.EllipticCurvePrivateKey, lives: Span) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(public)
        .not_valid_before(moment(lives.made))
        .not_valid_after(moment(lives.until))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, issuer: ec.EllipticCurvePublicKey
) -> x509.Certificate:
    known_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer)
    return builder.add_extension(known_by, critical=False).sign(key, hashes.SHA256())


def sign(builder: x509.CertificateBuilder, root: Root) -> x509.Certificate:
    """Somebody's certificate under this root: never one that can sign others."""
    return _signed(
        builder.issuer_name(root.certificate.subject)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True),
        root.key,
        root.key.public_key(),
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def public_pem(*certificates: x509.Certificate) -> str:
    """Certificates one after another."""
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in certificates)


def private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """A key in clear: for memory and for a Secret, never for a log."""
    form, open_text = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, open_text).decode()


def write_roots(roots: Sequence[Root]) -> str:
    """All of them, keys included, oldest first."""
    return "".join(
        public_pem(root.certificate, *((root.cross,) if root.cross else ())) + private_pem(root.key) for root in roots
    )


def read_roots(text: str) -> tuple[Root, ...]:
    """What `write_roots` wrote; raises UnreadableRoots, which shows nothing of the text."""
    roots, certificates = [], list[x509.Certificate]()
    try:
        for block in _BLOCK.finditer(text):
            if block[1] == "CERTIFICATE":
                certificates.append(x509.load_pem_x509_certificate(block[0].encode()))
            else:
                roots.append(_root(certificates, block[0]))
                certificates = []
    except (ValueError, TypeError, x509.InvalidVersion) as error:
        raise UnreadableRoots("a root that was kept cannot be read") from error
    if not roots or certificates:
        raise UnreadableRoots("no root was kept, or one without its key")
    return tuple(roots)


def _root(certificates: list[x509.Certificate], key_text: str) -> Root:
    key = serialization.load_pem_private_key(key_text.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or len(certificates) not in (1, 2):
        raise UnreadableRoots("a root is a certificate, perhaps another of the same key, and the key")
    if any(each.public_key() != key.public_key() for each in certificates):
        raise UnreadableRoots("a root's certificate and key do not belong together")
    return Root(certificates[0], key, *certificates[1:])
