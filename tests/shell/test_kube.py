"""What is asked of a real API server, and what its refusals mean."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from builders_api import JOB, WHERE, a_policy
from checkpointheal_operator.shell.access import Access, NoCluster, in_cluster
from checkpointheal_operator.shell.cluster import (
    CHECKPOINTHEALS,
    AlreadyThere,
    ClusterError,
    Conflict,
    Expired,
    NotThere,
    Ref,
    Refused,
    TooManyRequests,
    Unreachable,
)
from checkpointheal_operator.shell.kube import Kube, refusal
from checkpointheal_operator.shell.kubeconfig import from_kubeconfig
from fake_api import FakeApi, WatchedCluster

POLICY = Ref(CHECKPOINTHEALS, WHERE, JOB)


def at_a_server(ask: Callable[[Kube, FakeApi], Awaitable[None]], token: Callable[[], str] = lambda: "t") -> None:
    async def go() -> None:
        api = FakeApi(WatchedCluster())
        async with api.serving() as url, Access(url, token).session() as session:
            await ask(Kube(session, url), api)

    asyncio.run(go())


def test_an_object_is_made_changed_read_and_deleted():
    async def ask(kube: Kube, _api: FakeApi) -> None:
        made = await kube.create(CHECKPOINTHEALS, a_policy())
        changed = await kube.patch(POLICY, {"status": {"job": "demo"}}, status=True)
        assert await kube.get(POLICY) == changed
        assert await kube.list(CHECKPOINTHEALS, WHERE) == [changed]
        assert await kube.list(CHECKPOINTHEALS, "elsewhere") == []
        await kube.delete(POLICY, made["metadata"]["uid"])
        with pytest.raises(NotThere):
            await kube.get(POLICY)

    at_a_server(ask)


def test_each_refusal_says_what_it_is():
    async def ask(kube: Kube, _api: FakeApi) -> None:
        made = await kube.create(CHECKPOINTHEALS, a_policy())
        with pytest.raises(AlreadyThere):
            await kube.create(CHECKPOINTHEALS, a_policy())
        with pytest.raises(Conflict):
            await kube.patch(POLICY, {"metadata": {"resourceVersion": "0"}, "spec": {}})
        with pytest.raises(Conflict):
            await kube.delete(POLICY, made["metadata"]["uid"] + "x")
        with pytest.raises(Refused, match="422"):
            await kube.patch(POLICY, {"spec": {"layout": {"ranks": "many"}}})

    at_a_server(ask)


def test_the_token_is_read_at_each_request():
    tokens = iter(("one", "two"))

    async def ask(kube: Kube, api: FakeApi) -> None:
        for _ in range(2):
            await kube.list(CHECKPOINTHEALS, WHERE)
        assert api.signed == ["Bearer one", "Bearer two"]

    at_a_server(ask, lambda: next(tokens))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (web.Response(status=500, text="boom"), Unreachable),
        (web.Response(status=503), Unreachable),
        (web.Response(status=401), Refused),
        (web.Response(status=403), Refused),
        (web.Response(text="<html>"), Unreachable),
        (web.Response(text="[]"), Unreachable),
    ],
)
def test_an_answer_that_is_none_is_a_refusal_too(answer, error):
    async def ask(kube: Kube, api: FakeApi) -> None:
        api.refuse = lambda _request: answer
        with pytest.raises(error):
            await kube.get(POLICY)

    at_a_server(ask)


def test_a_server_that_is_not_there_is_unreachable():
    async def go() -> None:
        async with Access("http://127.0.0.1:9", lambda: "").session() as session:
            with pytest.raises(Unreachable, match="ClientConnectorError"):
                await Kube(session, "http://127.0.0.1:9").get(POLICY)

    asyncio.run(go())


@pytest.mark.parametrize("status", range(400, 600))
def test_every_status_means_something(status):
    assert isinstance(refusal(status, ""), ClusterError)
    assert isinstance(refusal(status, "[1]", "soon"), ClusterError)


def test_a_pause_is_as_long_as_the_server_wants():
    error = refusal(429, "", "7")
    assert isinstance(error, TooManyRequests)
    assert error.after == 7.0
    assert isinstance(refusal(410, ""), Expired)


def test_outside_a_cluster_there_is_no_account(tmp_path):
    with pytest.raises(NoCluster):
        in_cluster({}, tmp_path)
    with pytest.raises(NoCluster):
        in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "http://127.0.0.1:8001"}}]
users: [{name: u, user: {token: secret}}]
"""


def test_a_kubeconfig_says_where_and_as_whom(tmp_path):
    path = tmp_path / "config"
    path.write_text(KUBECONFIG)
    access = from_kubeconfig(path)
    assert (access.url, access.token()) == ("http://127.0.0.1:8001", "secret")
    with pytest.raises(NoCluster):
        from_kubeconfig(tmp_path / "none")
