"""One authority for all replicas, and everybody who has to know it does."""

import asyncio
import base64
import http.client
import json
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import builders_trust as build
from builders_api import JOB, WHERE, pod_object
from builders_core import a_pod, m
from checkpointheal.agent.credentials import OwnKey
from checkpointheal.contract.trust import Issued
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.gateway.authority import Authority, UnreadableRoots
from checkpointheal_operator.gateway.authority.terms import DAY, HOUR
from checkpointheal_operator.shell import replica
from checkpointheal_operator.shell.cluster import (
    CONFIG_MAPS,
    PODS,
    SECRETS,
    WEBHOOKS,
    AlreadyThere,
    Conflict,
    Ref,
    Unreachable,
)
from checkpointheal_operator.shell.publishing import Publishing, Webhook
from checkpointheal_operator.shell.roots import Roots, encoded
from checkpointheal_operator.shell.trust import Trust
from fake_api import pod_token
from fake_cluster import FakeCluster
from replicas import Stage

HERE = "system"
GATEWAY, WEBHOOK = ("localhost", "checkpointheal.system.svc"), ("checkpointheal-webhook.system.svc",)
ROOTS, TLS = Ref(SECRETS, HERE, "roots"), Ref(SECRETS, HERE, "webhook-tls")
ROOT, HOOK = Ref(CONFIG_MAPS, HERE, "gateway-root"), Ref(WEBHOOKS, "", "checkpointheal")
CONFIGURATION = {
    "metadata": {"namespace": "", "name": HOOK.name},
    "webhooks": [
        {"name": "pods.checkpointheal.dev", "clientConfig": {"service": {"name": "checkpointheal-webhook"}}},
        {"name": "another", "clientConfig": {"service": {"name": "another"}}},
    ],
}


class Desk:
    """An API server, and as many leaders as a test wants."""

    def __init__(self) -> None:
        self.now, self.cluster = build.NOW, FakeCluster()
        self.cluster.put(WEBHOOKS, json.loads(json.dumps(CONFIGURATION)))

    def trust(self) -> Trust:
        webhook = Webhook(TLS, WEBHOOK, HOOK)
        return Trust(self.roots(), Publishing(self.cluster, ROOT, webhook), lambda: self.now)

    def roots(self) -> Roots:
        return Roots(self.cluster, ROOTS, GATEWAY)

    def text(self, ref: Ref, key: str) -> str:
        found = self.cluster.objects[ref]["data"][key]
        return found if ref.kind == CONFIG_MAPS else base64.b64decode(found).decode()

    @property
    def trusted(self) -> str:
        return self.text(ROOT, "root.pem")

    @property
    def bundles(self) -> set[str]:
        webhooks = self.cluster.objects[HOOK]["webhooks"]
        return {base64.b64decode(each["clientConfig"]["caBundle"]).decode() for each in webhooks}

    def shown(self) -> ssl.SSLContext:
        """What the webhook shows with what it was handed."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        build.load(context, self.text(TLS, "tls.crt"), self.text(TLS, "tls.key"))
        return context


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def refuse(error: Exception) -> Callable[[int], None]:
    def before(_number: int) -> None:
        raise error

    return before


def test_the_first_leader_makes_the_authority_and_the_next_one_goes_on_with_it():
    desk = Desk()
    first, second = run(desk.roots().current(desk.now)), run(desk.roots().current(desk.now))
    assert first.roots == second.roots
    assert second.text() == desk.text(ROOTS, "roots.pem")


def test_of_two_who_make_it_at_once_the_slower_one_takes_what_the_faster_one_made():
    desk = Desk()
    made = run(desk.roots().current(desk.now))
    with pytest.raises(AlreadyThere):
        run(desk.roots()._begin(desk.now))
    assert run(desk.roots().current(desk.now)).roots == made.roots


def test_a_root_counts_once_it_is_written():
    desk = Desk()
    old = run(desk.roots().current(desk.now))
    desk.now += 366 * DAY
    desk.cluster.before = refuse(Conflict("somebody was first"))
    with pytest.raises(Conflict):
        run(desk.roots().current(desk.now))
    assert desk.text(ROOTS, "roots.pem") == old.text()
    desk.cluster.before = lambda _number: None
    assert len(run(desk.roots().current(desk.now)).roots) == 2
    assert run(desk.roots().current(desk.now)).text() == desk.text(ROOTS, "roots.pem")


@pytest.mark.parametrize("kept", [{}, {"data": {}}, {"data": {"roots.pem": "!"}}, encoded({"roots.pem": "no roots"})])
def test_roots_that_cannot_be_read_are_never_replaced(kept: Json):
    desk = Desk()
    desk.cluster.put(SECRETS, {"metadata": {"namespace": HERE, "name": ROOTS.name}} | kept)
    with pytest.raises(UnreadableRoots):
        run(desk.roots().current(desk.now))
    assert not run(desk.trust().look())
    assert desk.cluster.calls == []


def test_everybody_is_told_and_once_is_enough():
    desk = Desk()
    assert run(desk.trust().look())
    authority = Authority.read(desk.text(ROOTS, "roots.pem"), GATEWAY)
    assert desk.trusted == authority.trusted(desk.now)
    assert desk.bundles == {desk.trusted}
    assert build.greet(desk.shown(), desk.trusted, WEBHOOK[0])
    written = list(desk.cluster.calls)
    assert run(desk.trust().look())
    assert desk.cluster.calls == written


@pytest.mark.parametrize("ref", [ROOT, TLS])
def test_what_somebody_removes_comes_back(ref: Ref):
    desk = Desk()
    run(desk.trust().look())
    del desk.cluster.objects[ref]
    assert run(desk.trust().look())
    assert ref in desk.cluster.objects


@pytest.mark.parametrize("data", [None, {}, {"tls.crt": "", "tls.key": ""}, {"tls.crt": "bm8=", "tls.key": "bm8="}])
def test_a_webhooks_certificate_that_is_none_is_replaced(data: Json | None):
    desk = Desk()
    run(desk.trust().look())
    desk.cluster.objects[TLS]["data"] = data
    run(desk.trust().look())
    assert build.greet(desk.shown(), desk.trusted, WEBHOOK[0])


def test_a_webhooks_certificate_is_replaced_in_time_and_never_before():
    desk = Desk()
    run(desk.trust().look())
    first = desk.text(TLS, "tls.crt")
    desk.now += 19 * DAY
    run(desk.trust().look())
    assert desk.text(TLS, "tls.crt") == first
    desk.now += 2 * DAY
    run(desk.trust().look())
    assert desk.text(TLS, "tls.crt") != first


def test_a_webhook_that_is_called_by_other_names_gets_another_certificate():
    desk = Desk()
    authority = run(desk.roots().current(desk.now))
    served = authority.serve_others(WEBHOOK, desk.now)
    assert not authority.is_due(served.chain, served.key, WEBHOOK, desk.now)
    assert authority.is_due(served.chain, served.key, ("other.svc",), desk.now)


def test_a_key_that_does_not_belong_to_its_certificate_is_replaced():
    desk = Desk()
    authority = run(desk.roots().current(desk.now))
    one, other = (authority.serve_others(WEBHOOK, desk.now) for _ in range(2))
    assert authority.is_due(one.chain, other.key, WEBHOOK, desk.now)


def test_when_another_root_begins_to_sign_the_webhook_changes_with_it():
    desk = Desk()
    run(desk.trust().look())
    desk.now += 366 * DAY
    run(desk.trust().look())
    assert desk.trusted.count("BEGIN CERTIFICATE") == 2
    assert desk.bundles == {desk.trusted}
    first = desk.text(TLS, "tls.crt")
    desk.now += 2 * DAY
    run(desk.trust().look())
    assert desk.text(TLS, "tls.crt") != first
    authority = Authority.read(desk.text(ROOTS, "roots.pem"), GATEWAY)
    served = authority.serve_others(WEBHOOK, desk.now)
    assert not authority.is_due(served.chain, served.key, WEBHOOK, desk.now)


@pytest.mark.parametrize("error", [Unreachable("no answer"), AlreadyThere("there"), Conflict("changed")])
def test_what_fails_is_done_the_next_time(error: Exception):
    desk = Desk()
    trust = desk.trust()
    desk.cluster.before = refuse(error)
    assert not run(trust.look())
    desk.cluster.before = lambda _number: None
    assert run(trust.look())


@pytest.mark.parametrize("made", [-731 * DAY, 30 * DAY, 12 * HOUR], ids=["over", "a month ahead", "hours ahead"])
def test_a_leader_begins_whenever_its_roots_were_made_and_whoever_is_told_of_them_believes_it(made: float):
    desk = Desk()
    desk.now += made
    assert run(desk.trust().look())
    desk.now = build.NOW
    registrar = run(desk.trust().begin())
    assert build.greet(registrar.context, desk.trusted, GATEWAY[0])
    assert build.greet(desk.shown(), desk.trusted, WEBHOOK[0])


def test_a_clock_that_no_certificate_can_name_is_told_and_ends_no_leader(caplog: pytest.LogCaptureFixture):
    desk = Desk()
    desk.now = 1e15
    trust = desk.trust()
    assert not run(trust.look())
    assert "is the clock right?" in caplog.text
    desk.now = build.NOW
    assert run(trust.look())


def test_a_keeper_of_certificates_that_stands_still_is_seen_to_and_one_at_rest_is_not():
    desk, steady = Desk(), 0.0
    trust = Trust(desk.roots(), Publishing(desk.cluster, ROOT, None), lambda: desk.now, lambda: steady)

    async def story() -> None:
        nonlocal steady
        steady = 500.0
        assert trust.age == 0, "nobody leads here"
        async with trust.leading():
            steady += 70
            assert trust.age == 70
            await trust.look()
            assert trust.age == 0
            steady += 300
            assert trust.age == 300
        assert trust.age == 0
        async with trust.leading():
            assert trust.age == 0, "what it did when it led before does not count"

    run(story())


def test_who_leads_again_reads_its_roots_before_any_agent_comes():
    """Its certificate of then may be over, and the roots another leader's since."""
    desk = Desk()
    trust = desk.trust()

    async def story() -> None:
        async with trust.leading() as before:
            pass
        async with trust.leading() as now:
            assert now is not before

    run(story())


def test_no_key_is_in_what_is_shown_to_new_pods_or_to_the_api_server():
    desk = Desk()
    run(desk.trust().look())
    assert "PRIVATE" not in desk.trusted
    assert "PRIVATE" not in "".join(desk.bundles)


SETTINGS = {
    "gateway_hosts": GATEWAY,
    "roots_secret": ROOTS.name,
    "root_config_map": ROOT.name,
    "webhook_secret": TLS.name,
    "webhook_hosts": WEBHOOK,
    "webhook_configuration": HOOK.name,
}


@pytest.mark.parametrize("stands_still", ["at its beginning", "later"])
def test_a_leader_whose_certificates_stand_still_is_not_healthy(stands_still, monkeypatch):
    standing = False
    look = Trust.look

    async def stand_still(trust: Trust) -> bool:
        nonlocal standing
        if stands_still == "later" and trust._registrar is None:
            return await look(trust)
        standing = True
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(Trust, "look", stand_still)
    with Stage(**SETTINGS) as stage:
        stage.start("operator-0")
        stage.until(lambda: standing)
        assert stage.probe("operator-0", "/healthz") == 200
        monkeypatch.setattr(replica, "STUCK_AFTER", 0.5)
        stage.until(lambda: json.loads(stage.page("operator-0", "/healthz")[1])["silent"]["certificates"] > 0.5)
        assert stage.probe("operator-0", "/healthz") == 503


def test_an_agent_is_certified_through_a_follower_by_the_root_that_new_pods_are_told():
    with Stage(**SETTINGS) as stage:
        stage.call(lambda: stage.cluster.put(WEBHOOKS, json.loads(json.dumps(CONFIGURATION))))
        pod = a_pod(m("1/0")).model_copy(update={"uid": "uid-1"})
        stage.call(lambda: stage.cluster.put(PODS, pod_object(pod)))
        stage.api.tokens["secret"] = pod_token(WHERE, pod.name, pod.uid)
        leader = stage.start("operator-0")
        stage.until(lambda: leader.operator is not None)
        follower = stage.start("operator-1")
        stage.until(lambda: ROOT in stage.cluster.objects)
        trusted = stage.cluster.objects[ROOT]["data"]["root.pem"]
        stage.until(lambda: follower._leader() is not None)
        issued = ask(follower.settings.pod_ip, follower.gateway_port, trusted)
    assert issued.holder.uri.endswith(f"ns/{WHERE}/job/{JOB}/member/1/0/pod/{pod.uid}")
    assert issued.roots == trusted
    assert follower.operator is None


def ask(host: str, port: int, trusted: str) -> Issued:
    """As an agent does, by the gateway's name."""
    link = http.client.HTTPSConnection("localhost", port, context=ssl.create_default_context(cadata=trusted))
    link._create_connection = lambda *_args, **_named: build.connected(host, port)
    try:
        body = json.dumps({"csr": OwnKey.new().csr})
        link.request("POST", "/v1/certificate", body, {"Authorization": "Bearer secret"})
        answer = link.getresponse()
        assert answer.status == 200, answer.read()
        return Issued.model_validate_json(answer.read())
    finally:
        link.close()
