"""The gateway's own certificate stays fresh, and nobody is certified of whom too little is known."""

import ssl

import pytest

import builders_trust as build
from checkpointheal.agent.credentials import OwnKey
from checkpointheal.contract.trust import Issued
from checkpointheal_operator.gateway.authority import Authority
from checkpointheal_operator.gateway.authority.terms import DAY, HOUR
from checkpointheal_operator.gateway.caller import Caller
from checkpointheal_operator.gateway.registrar import Registrar

AUTHORITY = Authority.begin(build.GATEWAY, build.NOW)


def shown(context: ssl.SSLContext, roots: str) -> int:
    """Serial number of what a server with this context shows to a client that believes `roots`."""
    return int(str(build.greet(context, roots, "localhost")["serialNumber"]), 16)


def test_the_gateways_certificate_is_new_at_two_thirds_of_its_life() -> None:
    now = [build.NOW - 16 * HOUR]
    registrar = Registrar(Authority.begin(build.GATEWAY, now[0]), lambda: now[0])
    first = shown(registrar.context, registrar.trusted)
    now[0] += 15 * HOUR
    assert not registrar.refresh()
    assert shown(registrar.context, registrar.trusted) == first
    now[0] += HOUR
    assert registrar.refresh()
    assert shown(registrar.context, registrar.trusted) != first


def test_a_certificate_that_was_made_by_a_clock_ahead_is_replaced_once_the_clock_is_right() -> None:
    now = [build.NOW + 20 * HOUR]
    registrar = Registrar(Authority.begin(build.GATEWAY, build.NOW - 10 * DAY), lambda: now[0])
    now[0] = build.NOW
    with pytest.raises(ssl.SSLCertVerificationError, match="not yet valid"):
        shown(registrar.context, registrar.trusted)
    assert registrar.refresh()
    assert shown(registrar.context, registrar.trusted)
    assert not registrar.refresh()


def test_a_root_that_its_keeper_hands_over_is_in_use_at_once_for_who_knows_only_the_first() -> None:
    old = Authority.begin(build.GATEWAY, build.NOW - 367 * DAY)
    registrar = Registrar(old, lambda: build.NOW)
    first = shown(registrar.context, old.trusted(build.NOW))
    turned = old.turned(build.NOW - 2 * DAY)
    registrar.take(turned)
    assert shown(registrar.context, old.trusted(build.NOW)) != first
    second = shown(registrar.context, old.trusted(build.NOW))
    registrar.take(turned)
    assert shown(registrar.context, old.trusted(build.NOW)) == second
    assert registrar.trusted.count("BEGIN CERTIFICATE") == 2


@pytest.mark.parametrize(
    "caller",
    [Caller("gpt", "uid-0"), build.a_caller(build.a_holder(), host=""), Caller("gpt", "uid-0", host="10.0.0.1")],
)
def test_a_pod_without_a_known_place_or_address_waits(caller: Caller) -> None:
    registrar = Registrar(AUTHORITY, lambda: build.NOW)
    assert build.refusal(registrar.certify(caller, OwnKey.new().csr)) == "NotPlaced"


def test_a_caller_is_certified_in_its_place() -> None:
    answer = Registrar(AUTHORITY, lambda: build.NOW).certify(build.a_caller(build.a_holder(3)), OwnKey.new().csr)
    assert isinstance(answer, Issued)
    assert answer.holder == build.a_holder(3)
