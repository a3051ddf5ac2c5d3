"""Who is given which certificate, from a key that asked rightly; and roots that follow one another unnoticed."""

import base64
import ipaddress
import itertools
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import verification
from hypothesis import given
from hypothesis import strategies as st

import builders_trust as build
from checkpointheal.agent.credentials import OwnKey
from checkpointheal.contract.trust import CSR_LIMIT, Holder, pod_host
from checkpointheal_operator.gateway.authority import Authority, Terms, UnreadableRoots, terms
from checkpointheal_operator.gateway.authority.roots import public_pem, span
from checkpointheal_operator.gateway.authority.terms import DAY, HOUR, Span
from checkpointheal_operator.gateway.registrar import Registrar

TERMS = Terms()
FIRST = Authority.begin(build.GATEWAY, build.NOW)
P256 = ec.generate_private_key(ec.SECP256R1())


def a_year_of(authority: Authority, days: int) -> list[tuple[float, Authority]]:
    """The authority as its keeper leaves it, day after day."""
    course, now = [], build.NOW
    for _ in range(days):
        authority = authority.turned(now)
        course.append((now, authority))
        now += DAY
    return course


def is_believed(chain: str, roots: str, at: float) -> bool:
    """By a verifier that is not ours, with only these roots, as a server's."""
    store = verification.Store(x509.load_pem_x509_certificates(roots.encode()))
    verifier = (
        verification.PolicyBuilder()
        .store(store)
        .time(datetime.fromtimestamp(at, UTC))
        .build_server_verifier(x509.DNSName(pod_host("uid-0")))
    )
    leaf, *others = x509.load_pem_x509_certificates(chain.encode())
    try:
        verifier.verify(leaf, others)
    except verification.VerificationError:
        return False
    return True


@pytest.mark.parametrize("key", [P256, ed25519.Ed25519PrivateKey.generate()], ids=["P-256", "Ed25519"])
def test_a_certificate_bears_the_callers_names_and_nothing_of_the_request(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
) -> None:
    csr = build.a_csr(key, "localhost", "uid-1.pods.checkpointheal.internal", "*.internal")
    answer = FIRST.issue(csr, build.a_holder(), "10.0.0.7", build.NOW)
    found = build.certificate(answer.chain)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {name.value for name in names} == {
        "spiffe://checkpointheal.internal/ns/team/job/gpt/member/0/0/pod/uid-0",
        "uid-0.pods.checkpointheal.internal",
        ipaddress.ip_address("10.0.0.7"),
    }
    assert found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert "root of everything" not in found.subject.rfc4514_string()
    assert found.public_key() == key.public_key()


def test_a_certificate_lives_a_day_and_is_renewed_at_two_thirds_of_it() -> None:
    answer = build.issued(FIRST, build.a_holder())
    assert span(build.certificate(answer.chain)).until == build.NOW + DAY
    assert answer.renew_after == pytest.approx(16 * HOUR)


def a_forged_csr() -> str:
    """A good request in which another public key stands instead: points of one curve have one length."""
    point = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    request = x509.load_pem_x509_csr(build.a_csr(P256).encode())
    theirs = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(*point)
    forged = request.public_bytes(serialization.Encoding.DER).replace(P256.public_key().public_bytes(*point), theirs)
    text = base64.encodebytes(forged).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{text}-----END CERTIFICATE REQUEST-----\n"


def changed(pem: str, before: bytes, after: bytes) -> str:
    """The same with other bytes at the first place where these are."""
    first, *lines, last = pem.splitlines()
    text = base64.encodebytes(base64.b64decode("".join(lines)).replace(before, after, 1)).decode()
    return f"{first}\n{text}{last}\n"


def an_rsa_csr(bits: int) -> str:
    key = rsa.generate_private_key(65537, bits)
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


GOOD = OwnKey.new().csr
BAD = {
    "nothing": ("", "UnreadableRequest"),
    "words": ("please", "UnreadableRequest"),
    "no ASCII": ("\u2603" * 9, "UnreadableRequest"),
    "half of one": (GOOD[: len(GOOD) // 2], "UnreadableRequest"),
    "of a version that there is not": (changed(GOOD, b"\x02\x01\x00", b"\x02\x01\x08"), "UnreadableRequest"),
    "a certificate": (FIRST.trusted(build.NOW), "UnreadableRequest"),
    "an empty body": (
        "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n",
        "UnreadableRequest",
    ),
    "a huge one": (GOOD + " " * CSR_LIMIT, "RequestTooLarge"),
    "RSA": (an_rsa_csr(2048), "KeyNotAllowed"),
    "another curve": (build.a_csr(ec.generate_private_key(ec.SECP384R1())), "KeyNotAllowed"),
    "a key that it does not hold": (a_forged_csr(), "KeyNotHeld"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_request_gets_its_reason(bad: str) -> None:
    csr, reason = BAD[bad]
    assert build.refusal(FIRST.issue(csr, build.a_holder(), build.HOST, build.NOW)) == reason


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_request_with_one_wrong_character_gets_no_certificate_for_another_key(place: int, other: int) -> None:
    spoilt = GOOD[:place] + chr(other) + GOOD[place + 1 :]
    answer = FIRST.issue(spoilt, build.a_holder(), build.HOST, build.NOW)
    own = x509.load_pem_x509_csr(GOOD.encode()).public_key()
    assert (
        build.refusal(answer) if not hasattr(answer, "chain") else build.certificate(answer.chain).public_key() == own
    )


@pytest.mark.parametrize("uid", ["*", "a.b", "", "-a", "a/b", "x" * 64, "uid\n", "uid-0.pods.checkpointheal.internal"])
def test_a_uid_that_could_pass_for_another_name_is_not_certified(uid: str) -> None:
    holder = build.a_holder().model_copy(update={"pod_uid": uid})
    assert build.refusal(FIRST.issue(GOOD, holder, build.HOST, build.NOW)) == "BadName"


@pytest.mark.parametrize(
    "host", ["", "*", "*.svc", "a b", "localhost", "LocalHost", build.GATEWAY[1], "x." * 200 + "x"]
)
def test_a_host_that_could_pass_for_the_gateway_is_not_certified(host: str) -> None:
    assert build.refusal(FIRST.issue(GOOD, build.a_holder(), host, build.NOW)) == "BadName"


@given(st.text(min_size=1), st.text(), st.text(min_size=1), st.integers(0, 99), st.integers(0, 99))
def test_a_holder_is_read_back_from_its_name_as_it_was(
    job: str, namespace: str, uid: str, replica: int, rank: int
) -> None:
    holder = build.a_holder(job=job, namespace=namespace, pod_uid=uid)
    holder = holder.model_copy(update={"member": holder.member.model_copy(update={"replica": replica, "rank": rank})})
    if not any("\ud800" <= letter <= "\udfff" for letter in job + namespace + uid):
        assert Holder.parse(holder.uri) == holder


@pytest.mark.parametrize("uri", ["", "spiffe://elsewhere/ns/a/job/b/member/0/0/pod/c", build.a_holder().uri + "/more"])
def test_what_names_no_agent_is_not_read(uri: str) -> None:
    with pytest.raises(ValueError, match="names no agent"):
        Holder.parse(uri)


def test_the_gateways_certificate_is_a_servers_only() -> None:
    uses = build.certificate(FIRST.serve(build.NOW).chain).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(uses.value) == [x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]


def test_what_is_kept_is_read_back_and_shows_its_keys_to_nobody() -> None:
    turned = FIRST.turned(build.NOW + 366 * DAY)
    again = Authority.read(turned.text(), build.GATEWAY)
    assert again.text() == turned.text()
    assert again.trusted(build.NOW + 366 * DAY) == turned.trusted(build.NOW + 366 * DAY)
    assert len(again.roots) == 2
    for shown in (
        repr(turned),
        str(turned),
        repr(turned.serve(build.NOW)),
        repr(OwnKey.new()),
        turned.trusted(build.NOW),
    ):
        assert "PRIVATE" not in shown


KEPT = FIRST.text()
OTHER = Authority.begin(build.GATEWAY, build.NOW).text()
END = "-----END CERTIFICATE-----\n"
VERSION = b"\xa0\x03\x02\x01"
ODD = changed(KEPT.partition(END)[0] + END, VERSION + b"\x02", VERSION + b"\x08")


@pytest.mark.parametrize(
    "text",
    [
        "",
        KEPT.partition(END)[0] + END,
        KEPT.partition(END)[2],
        KEPT.replace("M", "!"),
        KEPT.partition(END)[0] + END + OTHER.partition(END)[2],
        ODD + KEPT.partition(END)[2],
    ],
    ids=["nothing", "no key", "no certificate", "damaged", "another root's key", "of a version that there is not"],
)
def test_roots_that_cannot_be_read_are_refused_without_being_shown(text: str) -> None:
    with pytest.raises(UnreadableRoots) as refused:
        Authority.read(text, build.GATEWAY)
    assert "BEGIN" not in str(refused.value)


def test_over_years_every_living_certificate_is_believed_by_whoever_may_meet_it() -> None:
    """Two agents that renewed at any moments of their certificates' lives, and a pod that knows only the root it was
    born with: any of them may meet any other."""
    course = list(a_year_of(FIRST, 500))
    assert {len(authority.roots) for _, authority in course} == {1, 2}
    around = [index for index, (_, each) in enumerate(course) if each.roots != course[max(index - 1, 0)][1].roots]
    for turn in around:
        days = course[max(turn - 2, 0) : turn + 5]
        for (first, older), (second, newer) in itertools.combinations_with_replacement(days, 2):
            if second >= first + DAY:
                continue
            one, other = build.issued(older, build.a_holder(), first), build.issued(newer, build.a_holder(), second)
            assert is_believed(one.chain, other.roots, second)
            assert is_believed(other.chain, one.roots, second)
    born = course[363][1].trusted(course[363][0])
    later, then = course[-1]
    last = build.issued(then, build.a_holder(), later)
    assert is_believed(last.chain, born, later)
    assert not is_believed(public_pem(build.certificate(last.chain)), born, later), (
        "only its predecessor vouches for it"
    )
    assert not is_believed(build.issued(Authority.begin((), later), build.a_holder(), later).chain, born, later)


@given(st.floats(0, 800 * DAY))
def test_a_root_signs_only_when_everybody_can_know_it_and_never_once_it_is_over(now: float) -> None:
    roots = [Span(0.0, 730 * DAY), Span(365 * DAY, 1095 * DAY)]
    signing = terms.signer(roots, now, TERMS)
    assert signing == (1 if now >= 365 * DAY + TERMS.overlap else 0)
    assert signing in terms.believed(roots, now, TERMS)


@given(
    st.builds(Terms, leaf=st.floats(1, 1e5), skew=st.floats(0, 1e4), root=st.floats(1e6, 1e8)),
    st.floats(0, 1e4),
    st.floats(-1, 4),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_whatever_the_terms_two_living_certificates_believe_each_others_roots(
    lives: Terms, late: float, when: float, ages: tuple[float, float]
) -> None:
    """The second root is made when it is due, or `late`; `when` is counted in overlaps around that."""
    made = lives.root / 2 + late
    roots = [Span(0.0, lives.root), Span(made, made + lives.root)]
    now = made + when * lives.overlap

    def known(moment: float) -> list[Span]:
        return roots if moment >= made else roots[:1]

    one, other = (now - age * lives.leaf for age in ages)
    signed_by = terms.signer(known(one), one, lives)
    assert signed_by in terms.believed(known(other), other, lives)


def test_the_only_root_signs_even_when_it_is_over_because_there_is_no_other() -> None:
    assert terms.signer([Span(0.0, 1.0)], 2.0, TERMS) == 0
    assert terms.new_root_due([Span(0.0, 1.0)], TERMS.root, TERMS)


def test_looking_again_changes_nothing_until_something_is_due() -> None:
    assert FIRST.turned(build.NOW) is FIRST
    assert FIRST.turned(build.NOW + 300 * DAY) is FIRST
    turned = FIRST.turned(build.NOW + 365 * DAY)
    assert turned is not FIRST
    assert turned.turned(build.NOW + 365 * DAY) is turned


def test_a_root_that_was_made_under_shorter_terms_has_its_successor_in_time() -> None:
    short = Authority.begin(build.GATEWAY, build.NOW, Terms(leaf=60, skew=0, root=600))
    later = Authority.read(short.text(), build.GATEWAY)
    assert len(later.turned(build.NOW + 299).roots) == 1
    assert len(later.turned(build.NOW + 300).roots) == 2


def test_one_successor_is_enough_for_roots_of_shorter_terms_though_it_counts_from_before_they_were_made() -> None:
    short = Authority.begin(build.GATEWAY, build.NOW, Terms(leaf=60, skew=2, root=600))
    looks = [build.NOW + minute * 60 for minute in range(9)]
    grown = [Authority.read(short.text(), build.GATEWAY)]
    for now in looks:
        grown.append(grown[-1].turned(now))
    assert [len(each.roots) for each in grown[1:]] == [1, 1, 1, 1, 1, 2, 2, 2, 2]


def test_what_a_server_is_handed_never_ends_while_it_waits_for_the_next_though_terms_have_grown() -> None:
    authority = Authority.begin(build.GATEWAY, build.NOW, Terms(leaf=60, skew=2, root=600))
    authority = Authority.read(authority.text(), build.GATEWAY)
    held = authority.serve_others(build.GATEWAY, build.NOW)
    for now in (build.NOW + 10 * look for look in range(120)):
        authority = authority.turned(now)
        (certificate, *_) = x509.load_pem_x509_certificates(held.chain.encode())
        assert now < span(certificate).until - 120, "a volume may be two minutes behind"
        if authority.is_due(held.chain, held.key, build.GATEWAY, now):
            held = authority.serve_others(build.GATEWAY, now)


@pytest.mark.parametrize("made", [-731 * DAY, 30 * DAY, 12 * HOUR], ids=["over", "a month ahead", "hours ahead"])
def test_where_no_root_counts_now_another_one_is_made_and_signs_at_once(made: float) -> None:
    turned = Authority.begin(build.GATEWAY, build.NOW + made).turned(build.NOW)
    assert len(turned.roots) == 2
    assert build.greet(Registrar(turned, lambda: build.NOW).context, turned.trusted(build.NOW), "localhost")
    assert turned.turned(build.NOW) is turned


def test_a_root_that_is_over_vouches_for_nobody_and_is_no_longer_handed_out() -> None:
    turned = Authority.begin(build.GATEWAY, build.NOW - 731 * DAY).turned(build.NOW)
    assert turned.roots[-1].cross is None
    assert turned.trusted(build.NOW) == public_pem(turned.roots[-1].certificate)
    later = build.NOW + 3 * TERMS.overlap
    assert turned.turned(later).roots == turned.roots[1:]


def test_who_knows_only_the_root_that_was_made_ahead_believes_its_stand_in_as_soon_as_that_root_counts() -> None:
    ahead = Authority.begin(build.GATEWAY, build.NOW + 30 * DAY)
    then = build.NOW + 30 * DAY
    now = ahead.turned(build.NOW).turned(then)
    signing = now.roots[terms.signer([root.span for root in now.roots], then, TERMS)]
    assert signing.certificate != ahead.roots[0].certificate
    assert is_believed(build.issued(now, build.a_holder(), then).chain, ahead.trusted(build.NOW), then)


def test_a_leader_whose_clock_is_behind_the_first_root_is_believed_by_whoever_knows_that_root() -> None:
    known = FIRST.trusted(build.NOW)
    behind = FIRST.turned(build.NOW - 3 * HOUR)
    assert is_believed(build.issued(behind, build.a_holder(), build.NOW - 3 * HOUR).chain, known, build.NOW)
    right = behind.turned(build.NOW)
    assert is_believed(build.issued(right, build.a_holder(), build.NOW).chain, known, build.NOW)


@pytest.mark.parametrize("wrong", [-(10**9), -40 * DAY, 900 * DAY, 3 * 365 * DAY, 10**10])
def test_one_look_by_a_wrong_clock_makes_no_agent_a_stranger(wrong: float) -> None:
    started = FIRST.turned(build.NOW + 30 * DAY)
    after = started.turned(build.NOW + 30 * DAY + wrong).turned(build.NOW + 30 * DAY)
    chain = build.issued(after, build.a_holder(), build.NOW + 30 * DAY).chain
    assert is_believed(chain, started.trusted(build.NOW), build.NOW + 30 * DAY)


@given(st.lists(st.floats(-3000 * DAY, 3000 * DAY), min_size=1, max_size=6))
def test_wherever_clocks_jump_a_root_that_counts_signs(moments: list[float]) -> None:
    authority = FIRST
    for moment in moments:
        now = build.NOW + moment
        authority = authority.turned(now)
        signing = authority.roots[terms.signer([root.span for root in authority.roots], now, TERMS)]
        assert signing.span.made <= now < signing.span.until
        assert authority.turned(now) is authority
        assert build.issued(authority, build.a_holder(), now)


def test_a_servers_certificate_of_a_version_that_there_is_not_is_replaced() -> None:
    served = FIRST.serve_others(build.GATEWAY, build.NOW)
    odd = changed(served.chain, VERSION + b"\x02", VERSION + b"\x08")
    assert not FIRST.is_due(served.chain, served.key, build.GATEWAY, build.NOW)
    assert FIRST.is_due(odd, served.key, build.GATEWAY, build.NOW)
