"""The authority as a value: its roots, and what it issues at a given moment.

Whoever has it keeps its text: a new one counts once that is written, so two leaders never sign under roots of which the
other knows nothing. Must not know HTTP, files or clocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from checkpointheal.contract.trust import Holder, Issued
from checkpointheal_operator.gateway.authority import terms as moments
from checkpointheal_operator.gateway.authority.issuing import (
    PublicKey,
    Refused,
    host_names,
    key_of,
    names_of,
    subject,
)
from checkpointheal_operator.gateway.authority.renewing import Pair, is_good
from checkpointheal_operator.gateway.authority.roots import (
    Root,
    make_root,
    moment,
    private_pem,
    public_pem,
    read_roots,
    sign,
    span,
    write_roots,
)
from checkpointheal_operator.gateway.authority.terms import DEFAULT, Span, Terms

_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True)
class Served:
    """A certificate with its key, for a server. `good`: from when it counts until another should replace it."""

    chain: str
    good: Span
    key: str = field(repr=False)


@dataclass(frozen=True)
class Authority:
    """Roots, oldest first. `gateway` are the names of the gateway, which no agent may bear."""

    roots: tuple[Root, ...]
    gateway: frozenset[str]
    terms: Terms = DEFAULT

    @classmethod
    def begin(cls, gateway: Sequence[str], now: float, terms: Terms = DEFAULT) -> "Authority":
        """The first root of an installation."""
        return cls((make_root(now, terms, None),), _lowered(gateway), terms)

    @classmethod
    def read(cls, text: str, gateway: Sequence[str], terms: Terms = DEFAULT) -> "Authority":
        """What `text()` gave; raises UnreadableRoots."""
        return cls(read_roots(text), _lowered(gateway), terms)

    def text(self) -> str:
        """PEM of all roots and their keys."""
        return write_roots(self.roots)

    def turned(self, now: float) -> "Authority":
        """With a new root where one is due, without those that nobody needs; this very one where nothing changes."""
        roots = [self.roots[index] for index in moments.kept(self._spans(), now, self.terms)]
        spans = [root.span for root in roots]
        if moments.new_root_due(spans, now, self.terms):
            voucher = moments.voucher(spans, now, self.terms)
            roots.append(make_root(now, self.terms, None if voucher is None else roots[voucher]))
        return self if tuple(roots) == self.roots else Authority(tuple(roots), self.gateway, self.terms)

    def trusted(self, now: float) -> str:
        """PEM of the roots to be believed, without keys: for agents, and for pods that are made now."""
        believed = moments.believed(self._spans(), now, self.terms)
        return public_pem(*(self.roots[index].certificate for index in believed))

    def issue(self, csr: str, holder: Holder, host: str, now: float) -> Issued | Refused:
        """An agent's certificate for the key of `csr`, under the names of `holder` and `host`."""
        key = key_of(csr)
        if isinstance(key, Refused):
            return key
        names = names_of(holder, host, self.gateway)
        if isinstance(names, Refused):
            return names
        certificate, chain = self._sign(key, names, (_SERVER, _CLIENT), Span(now, now + self.terms.leaf))
        renew_after = moments.renewal(Span(now, span(certificate).until)) - now
        return Issued(holder=holder, chain=chain, roots=self.trusted(now), renew_after=max(renew_after, 0))

    def serve(self, now: float) -> Served:
        """A certificate for the gateway itself. It is a server's only: no agent takes it for an agent's."""
        return self._serve(sorted(self.gateway), Span(now, now + self.terms.leaf))

    def serve_others(self, hosts: Sequence[str], now: float) -> Served:
        """A certificate for another server of the installation, which is handed over in an object."""
        return self._serve(sorted(_lowered(hosts)), Span(now, now + self.terms.server))

    def is_due(self, chain: str, key: str, hosts: Sequence[str], now: float) -> bool:
        """Whether what `serve_others` gave once should be replaced by another one."""
        signer = self.roots[moments.signer(self._spans(), now, self.terms)]
        return not is_good(Pair(chain, key), frozenset(host_names(_lowered(hosts))), signer.certificate, now)

    def _serve(self, hosts: Sequence[str], lives: Span) -> Served:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName(list(host_names(hosts)))
        certificate, chain = self._sign(key.public_key(), names, (_SERVER,), lives)
        counts = span(certificate)
        good = Span(counts.made, moments.renewal(Span(lives.made, counts.until)))
        return Served(chain, good, private_pem(key))

    def _sign(
        self,
        key: PublicKey,
        names: x509.SubjectAlternativeName,
        uses: tuple[x509.ObjectIdentifier, ...],
        lives: Span,
    ) -> tuple[x509.Certificate, str]:
        """The certificate and its chain; it never outlives its root."""
        root = self.roots[moments.signer(self._spans(), lives.made, self.terms)]
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject("CheckpointHeal"))
            .public_key(key)
            .not_valid_before(moment(max(lives.made - self.terms.skew, root.span.made)))
            .not_valid_after(moment(min(lives.until, root.span.until)))
            .add_extension(names, critical=False)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )
        certificate = sign(builder, root)
        return certificate, public_pem(certificate, *((root.cross,) if root.cross else ()))

    def _spans(self) -> list[Span]:
        return [root.span for root in self.roots]


def _lowered(names: Sequence[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)
