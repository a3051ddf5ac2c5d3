"""An authority under a clock that a test moves, what agents hold under it, and doors between them over real TLS."""

import asyncio
import socket
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

import builders_agent as build
from checkpointheal.agent.credentials import Credentials, OwnKey
from checkpointheal.agent.keep import Keep
from checkpointheal.agent.peer_door import PeerDoor, Peers
from checkpointheal.agent.peer_trust import ByCertificate
from checkpointheal.contract.orders import Peer
from checkpointheal.contract.trust import Holder, Issued
from checkpointheal_operator.gateway.app import make_app
from checkpointheal_operator.gateway.authority import Authority, Refused
from checkpointheal_operator.gateway.caller import Caller
from checkpointheal_operator.gateway.hub import Hub
from checkpointheal_operator.gateway.registrar import Registrar

HOST = "127.0.0.1"
GATEWAY = ("localhost", "checkpointheal.checkpointheal-system.svc")
NOW = float(int(time.time()))
"""TLS compares certificates with the real clock, so tests over it begin here."""


def a_holder(replica: int = 0, **changes: object) -> Holder:
    """The agent of `builders_agent.a_peer`."""
    peer = build.a_peer(replica)
    holder = Holder(namespace="team", job="gpt", member=peer.member, pod_uid=peer.pod_uid)
    return holder.model_copy(update=changes)


def a_caller(holder: Holder, host: str = HOST) -> Caller:
    """How the gateway knows this holder."""
    return Caller(holder.job, holder.pod_uid, holder.namespace, holder.member, host)


def issued(authority: Authority, holder: Holder, now: float = NOW, key: OwnKey | None = None) -> Issued:
    """A certificate that the authority does give."""
    answer = authority.issue((key or OwnKey.new()).csr, holder, HOST, now)
    assert isinstance(answer, Issued), answer
    return answer


def credentials(authority: Authority, holder: Holder, now: float = NOW) -> Credentials:
    """Issued at `now`, and used at once."""
    key = OwnKey.new()
    return key.with_certificate(issued(authority, holder, now, key))


def self_signed(authority: Authority, holder: Holder) -> Credentials:
    """Believes whom the others believe, and has made its own certificate with all the right names."""
    told = issued(authority, holder)
    pretender = Authority.begin((), NOW)
    key = OwnKey.new()
    own = issued(pretender, holder, key=key)
    return key.with_certificate(own.model_copy(update={"roots": told.roots}))


def certificate(pem: str) -> x509.Certificate:
    """The first of a chain."""
    return x509.load_pem_x509_certificates(pem.encode())[0]


def a_csr(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, *names: str) -> str:
    """A request that claims these DNS names, and to be somebody."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root of everything")])
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True
        ).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    hashed = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, hashed).public_bytes(serialization.Encoding.PEM).decode()


def trusting(found: Credentials | None, clock: Callable[[], float] = time.time) -> ByCertificate:
    """What a door or a guest relies on."""
    trust = ByCertificate(clock)
    trust.credentials = found
    return trust


@dataclass
class Inside:
    """An agent that others may visit."""

    peer: Peer
    door: PeerDoor
    trust: ByCertificate
    keep: Keep = field(default_factory=Keep)

    async def show(self, found: Credentials) -> None:
        """Go on with another certificate."""
        self.trust.credentials = found
        await self.door.listen(found.server)


@asynccontextmanager
async def an_agent(
    replica: int, found: Credentials | None, clock: Callable[[], float] = time.time
) -> AsyncIterator[Inside]:
    """Behind its door, with this certificate; None: it has none yet."""
    trust, keep = trusting(found, clock), Keep()
    door = PeerDoor(trust, keep, 1 << 20)
    endpoint = await door.open(HOST, 0)
    try:
        if found is not None:
            await door.listen(found.server)
        yield Inside(build.a_peer(replica, endpoint.port), door, trust, keep)
    finally:
        await door.close()


@asynccontextmanager
async def a_guest(found: Credentials | None) -> AsyncIterator[Peers]:
    """Who visits others with this certificate."""
    async with aiohttp.ClientSession() as session:
        yield Peers(session, trusting(found))


@dataclass
class Gateway:
    """Over TLS. `now` and `tokens` are the test's to change."""

    authority: Authority
    tokens: dict[str, Caller]
    now: float = NOW
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hub = Hub(lambda: 0.0, lambda: None)
        self.registrar = Registrar(self.authority, lambda: self.now)

    async def authenticate(self, token: str) -> Caller | None:
        """Whose token this is."""
        self.asked.append(token)
        return self.tokens.get(token)

    def turn(self, now: float) -> None:
        """Time has passed, and who keeps the roots has looked."""
        self.now, self.authority = now, self.authority.turned(now)
        self.registrar.take(self.authority)
        self.registrar.refresh()


@asynccontextmanager
async def a_gateway(authority: Authority, **tokens: Caller) -> AsyncIterator[Gateway]:
    """Listens until the end."""
    gateway = Gateway(authority, tokens)
    server = TestServer(make_app(gateway.hub, gateway.authenticate, gateway.registrar.certify), scheme="https")
    await server.start_server(ssl=gateway.registrar.context)
    gateway.url = f"https://localhost:{server.port}"
    try:
        yield gateway
    finally:
        await server.close()


def refusal(answer: Issued | Refused) -> str:
    """The reason."""
    assert isinstance(answer, Refused), answer
    return answer.reason


def unverified() -> ssl.SSLContext:
    """A guest who shows nothing and believes anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def load(context: ssl.SSLContext, chain: str, key: str) -> None:
    """TLS takes its certificate from a path."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(chain + key)
        file.flush()
        context.load_cert_chain(file.name)


def greet(context: ssl.SSLContext, roots: str, name: str) -> dict[str, object]:
    """What a server with this context shows to a client that believes `roots` and calls it so; without any network."""
    guest = ssl.create_default_context(cadata=roots)
    to_server, to_guest = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_guest, server_side=True)
    client = guest.wrap_bio(to_guest, to_server, server_hostname=name)
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return dict(client.getpeercert() or {})


def connected(host: str, port: int) -> socket.socket:
    """A connection to an address, whatever name it is then called by."""
    return socket.create_connection((host, port), 10)


async def is_sent_away(reader: asyncio.StreamReader) -> bool:
    """Within the time that a test has."""
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True
