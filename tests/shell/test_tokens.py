"""A token stands for the pod that it is bound to, and for nobody else."""

import asyncio
import base64
import contextlib
import json
from typing import Any

import pytest

from builders_api import JOB, WHERE, pod_object
from builders_core import a_pod, m
from checkpointheal.contract.seats import Seats
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.gateway.caller import Caller
from checkpointheal_operator.shell import refusals, tokens
from checkpointheal_operator.shell.cluster import PODS, Kind, Ref, TooManyRequests, Unreachable
from checkpointheal_operator.shell.mirror import Mirror
from checkpointheal_operator.shell.tokens import (
    ACCOUNT,
    BOUND,
    KEPT_SECONDS,
    REFUSED_SECONDS,
    TOKEN_REVIEWS,
    Tokens,
    bound_to,
)
from fake_cluster import FakeCluster

AUDIENCE = "checkpointheal"


def a_status(**changes: Any) -> Json:
    extra = {BOUND + "pod-name": ["pod-0-0"], BOUND + "pod-uid": ["u0/0"]}
    user = {"username": f"{ACCOUNT}{WHERE}:default", "extra": extra}
    return {"authenticated": True, "audiences": [AUDIENCE], "user": user} | changes


class Reviewing(FakeCluster):
    """Knows one token; counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.reviews, self.reachable, self.got = 0, True, 0
        self.good = {"good"}
        self.status: Json = {"authenticated": False}

    async def create(self, kind: Kind, body: Json) -> Json:
        assert kind == TOKEN_REVIEWS
        assert body["spec"]["audiences"] == [AUDIENCE]
        self.reviews += 1
        await asyncio.sleep(0)
        if not self.reachable:
            raise Unreachable("no answer")
        return body | {"status": a_status() if body["spec"]["token"] in self.good else self.status}

    async def get(self, ref: Ref) -> Json:
        self.got += 1
        return await super().get(ref)


class Desk:
    def __init__(self, *, known: bool = True) -> None:
        self.now, self.cluster, self.mirror = 0.0, Reviewing(), Mirror(lambda *_: None)
        stored = self.cluster.put(PODS, pod_object(a_pod(m("0/0"))))
        if known:
            self.mirror.put(stored)
        self.reviewed: list[str] = []
        self.tokens = Tokens(self.cluster, self.mirror, AUDIENCE, lambda: self.now, self.reviewed.append)

    def callers(self, *tokens: str) -> list[Caller | None]:
        async def go() -> list[Caller | None]:
            return await asyncio.gather(*map(self.tokens.caller, tokens))

        return asyncio.run(go())


GOOD = Caller(JOB, "u0/0", WHERE, m("0/0"), "10.0.0.1", Seats(pod=m("0/0")))


def test_a_bound_token_stands_for_its_pod_in_its_job():
    assert Desk().callers("good", "bad") == [GOOD, None]


def test_a_token_is_reviewed_once_in_a_while_however_often_it_comes():
    desk = Desk()
    assert desk.callers(*["good"] * 10) == [GOOD] * 10
    desk.now = KEPT_SECONDS - 1
    assert desk.callers("good") == [GOOD]
    assert desk.cluster.reviews == 1
    desk.now = KEPT_SECONDS
    assert desk.callers("good") == [GOOD]
    assert desk.cluster.reviews == 2


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"authenticated": False}, "the API server does not know it"),
        ({"authenticated": False, "error": "service account token has expired"}, "service account token has expired"),
        (a_status(user={"username": "system:serviceaccount:a:b"}), "it is system:serviceaccount:a:b's, but bound"),
    ],
)
def test_why_a_token_is_refused_is_logged_once_a_review_and_without_the_token(status, why, caplog):
    desk = Desk()
    desk.cluster.status = status
    assert desk.callers("secret", "secret") == [None, None]
    (line,) = [each.getMessage() for each in caplog.records]
    assert line.startswith(f"a token was refused: {why}")
    assert "secret" not in line


def test_a_refused_token_may_be_good_soon():
    desk = Desk()
    for now, reviews in ((0.0, 1), (REFUSED_SECONDS - 0.1, 1), (REFUSED_SECONDS, 2)):
        desk.now = now
        assert desk.callers("bad") == [None]
        assert desk.cluster.reviews == reviews


def test_where_nobody_can_tell_the_answer_is_not_no():
    desk = Desk()
    desk.cluster.reachable = False
    with pytest.raises(Unreachable):
        desk.callers("good")
    desk.cluster.reachable = True
    assert desk.callers("good") == [GOOD]


def test_that_nobody_can_tell_is_logged_once_until_somebody_can(caplog):
    desk = Desk()
    for reachable in (False, False, True, False):
        desk.cluster.reachable, desk.now = reachable, desk.now + 1000
        with contextlib.suppress(Unreachable):
            desk.callers("good")
    line = "nobody can tell now whose a token is: Unreachable: no answer"
    assert [each.getMessage() for each in caplog.records] == [line, line]


def test_a_pod_may_speak_before_the_watch_tells_of_it():
    assert Desk(known=False).callers("good") == [GOOD]


def test_the_token_of_an_earlier_life_of_the_name_stands_for_nobody():
    desk = Desk(known=False)
    del desk.cluster.objects[Ref(PODS, WHERE, "pod-0-0")]
    assert desk.callers("good") == [None]
    desk.cluster.put(PODS, pod_object(a_pod(m("0/0"), uid="another")))
    assert desk.callers("good") == [None]


USER = a_status()["user"]


@pytest.mark.parametrize(
    "status",
    [
        {},
        a_status(authenticated=False),
        a_status(audiences=[]),
        a_status(audiences=["https://kubernetes.default.svc"]),
        a_status(user={}),
        a_status(user=USER | {"username": "system:node:n1"}),
        a_status(user=USER | {"extra": None}),
        a_status(user=USER | {"extra": {BOUND + "pod-name": ["pod-0-0"]}}),
        a_status(user=USER | {"extra": {BOUND + "pod-uid": ["u0/0"]}}),
        a_status(user=USER | {"extra": {BOUND + "pod-name": ["a", "b"], BOUND + "pod-uid": ["u0/0"]}}),
    ],
)
def test_a_token_that_is_not_good_or_not_for_us_or_no_pods_is_nobodys(status):
    assert bound_to(status, AUDIENCE) is None


def test_each_review_is_counted_by_what_it_said():
    desk = Desk()
    desk.callers("good", "bad", "good")
    desk.cluster.reachable = False
    with pytest.raises(Unreachable):
        desk.callers("another")
    assert desk.reviewed == ["a pod's", "nobody's", "unknown"]


def test_tokens_that_are_made_up_are_reviewed_and_told_of_only_so_often(caplog):
    desk = Desk()
    for each in range(1000):
        with contextlib.suppress(TooManyRequests):
            assert desk.callers(f"garbage {each}") == [None]
    assert desk.cluster.reviews == refusals.AT_ONCE
    assert caplog.text.count("a token was refused") == tokens.LINES_AT_ONCE
    desk.now += 10
    with contextlib.suppress(TooManyRequests):
        while True:
            assert desk.callers("more garbage" * (desk.cluster.reviews + 1)) == [None]
    assert desk.cluster.reviews == refusals.AT_ONCE + 10 * refusals.A_SECOND


def a_token(payload: object) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip('=')}.c2ln"


def bound_token(uid: str, serial: int = 0) -> str:
    return a_token({"kubernetes.io": {"pod": {"name": "any", "uid": uid}}, "jti": serial})


def test_whoever_makes_up_tokens_keeps_no_agent_of_a_pod_that_is_known_waiting():
    desk = Desk()
    with contextlib.suppress(TooManyRequests):
        for each in range(1000):
            desk.callers(f"garbage {each}")
    with pytest.raises(TooManyRequests):
        desk.callers(bound_token("another"))
    agents_own = bound_token("u0/0")
    desk.cluster.good = {agents_own}
    assert desk.callers(agents_own) == [GOOD]
    with contextlib.suppress(TooManyRequests):
        for each in range(1000):
            assert desk.callers(bound_token("u0/0", each + 1)) == [None]
    assert desk.cluster.reviews == refusals.AT_ONCE + 1 + refusals.OF_A_POD_AT_ONCE


@pytest.mark.parametrize(
    "token", ["secret", "a.b.c", "a.ä.c", a_token([]), a_token({"kubernetes.io": None}), a_token({}), a_token(1)]
)
def test_a_token_that_names_no_pod_is_one_of_all_others(token):
    assert refusals.claimed_pod(token) == ""


def test_a_pod_that_the_watch_does_not_tell_of_is_asked_for_once_a_minute_and_told_of_once():
    desk = Desk(known=False)
    for _ in range(100):
        assert desk.callers("good") == [GOOD]
    assert desk.cluster.got == 1
    desk.now = KEPT_SECONDS
    assert desk.callers("good") == [GOOD]
    assert desk.cluster.got == 2


def test_a_pod_without_a_place_is_told_of_once_a_minute(caplog):
    desk = Desk(known=False)
    del desk.cluster.objects[Ref(PODS, WHERE, "pod-0-0")]
    for now in (0, REFUSED_SECONDS - 1, KEPT_SECONDS - 1, KEPT_SECONDS):
        desk.now = now
        assert desk.callers("good") == [None]
    assert desk.cluster.got == 2
    assert caplog.text.count("a pod has no place in a job") == 2


def test_a_pod_whose_address_is_not_known_yet_is_asked_for_again_soon():
    desk = Desk(known=False)
    pod = pod_object(a_pod(m("0/0")))
    del pod["status"]["podIP"]
    desk.cluster.put(PODS, pod)
    for now in (0, REFUSED_SECONDS):
        desk.now = now
        assert desk.callers("good")[0] is not None
    assert desk.cluster.got == 2
