"""A token speaks for the pod that it is bound to, while it lasts; any other word is refused, and logged."""

import time
import uuid
from collections.abc import Iterator

import pytest

from builders_cluster import kubectl, one, until
from builders_tokens import LEEWAY, SHORTEST, Answer, Waiting, gateways_log, waiting

REFUSED, FORBIDDEN = 401, 403


@pytest.fixture(scope="module")
def somewhere() -> Iterator[str]:
    """The namespace of the job."""
    yield from a_namespace()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """Somebody else's."""
    yield from a_namespace()


def a_namespace() -> Iterator[str]:
    name = f"e2e-tokens-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def first(somewhere: str) -> Waiting:
    return waiting(somewhere, "first")


@pytest.fixture(scope="module")
def second(somewhere: str) -> Waiting:
    return waiting(somewhere, "second", replica=1)


@pytest.fixture(scope="module")
def stranger(elsewhere: str) -> Waiting:
    """Of a job by the same name."""
    return waiting(elsewhere, "first")


def test_a_pods_own_token_is_taken(first):
    assert first.ask(first.token(), first.report()).status == 200


@pytest.mark.parametrize("whose", ["second", "stranger"])
def test_another_pods_token_is_forbidden_to_speak_for_it_and_that_is_logged(first, whose, request):
    thief = request.getfixturevalue(whose)
    answer = thief.ask(thief.token(), first.report())
    assert answer.status == FORBIDDEN
    assert thief.uid in answer.text
    begins, ends = f"the token of pod {thief.uid} of job", f"came with a report for pod {first.uid} of job 'training'"
    (said,) = [each for each in gateways_log() if each["message"].startswith(begins) and each["message"].endswith(ends)]
    assert (said["level"], said["reason"], said["namespace"]) == ("warning", "NotItsOwn", thief.namespace)


def test_a_token_for_another_audience_is_refused_and_that_is_logged(first):
    refused(first, first.token(audience="somebody-else"), "somebody-else")


def test_a_token_that_is_bound_to_no_pod_is_refused_and_that_is_logged(first):
    account = f"system:serviceaccount:{first.namespace}:default"
    refused(first, first.token(bound=False), f"it is {account}'s, but bound to no pod")


def test_what_is_no_token_is_refused_and_that_is_logged(first):
    refused(first, f"nonsense-{uuid.uuid4().hex}", "invalid bearer token")


def test_the_token_of_a_pod_that_is_gone_is_refused_and_that_is_logged(somewhere, first):
    gone = waiting(somewhere, "gone", replica=2)
    token = gone.token()
    kubectl("delete", "pod", "-n", somewhere, "gone")
    until(lambda: one("pod", somewhere, "gone") is None, "the pod is gone")
    refused(first, token, "invalidated", said_for=gone)


def test_an_expired_token_is_refused_and_that_is_logged(token_of_the_start):
    """Minted when the suite began; no token lasts for less than ten minutes. So this test is the last of all."""
    holder, token, minted = token_of_the_start
    time.sleep(max(0.0, minted + SHORTEST + LEEWAY - time.time()))
    refused(holder, token, "expired")
    assert holder.ask(holder.token(), holder.report()).status == 200


def refused(holder: Waiting, token: str, why: str, said_for: Waiting | None = None) -> Answer:
    """And the log says why, and does not hold the token."""
    before = len(gateways_log())
    answer = holder.ask(token, (said_for or holder).report())
    assert answer.status == REFUSED, answer
    said = gateways_log()
    lines = [each for each in said if each.get("reason") == "TokenRefused" and why in each["message"]]
    assert len(said) > before
    assert lines, said[-5:]
    assert not any(token in str(each) for each in said)
    return answer
