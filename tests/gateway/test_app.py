"""Who may say what at the gateway, and how long a poll is held."""

import asyncio
import gc
import json
import weakref
from collections.abc import Awaitable, Callable

import pytest
from aiohttp.test_utils import TestClient, TestServer

from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.orders import Orders
from checkpointheal.contract.report import AgentReport
from checkpointheal.contract.seats import Seats
from checkpointheal.contract.trust import CSR_LIMIT, CertificateRequest, Holder, Issued
from checkpointheal_operator.gateway import app, pace, rations
from checkpointheal_operator.gateway.authority import Refused
from checkpointheal_operator.gateway.caller import Caller
from checkpointheal_operator.gateway.hub import Hub

JOB = "gpt"
TOKENS = {"token-0": Caller(JOB, "uid-0"), "token-1": Caller(JOB, "uid-1")}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "REFUSAL_SECONDS", 0.0)


def a_report(uid: str = "uid-0", **said: object) -> AgentReport:
    return AgentReport(
        job=JOB,
        member=MemberId(replica=0),
        pod="trainer-0",
        pod_uid=uid,
        agent="a1",
        endpoint=Endpoint(host="127.0.0.1", port=1),
        **{"sequence": 1, **said},
    )


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def at_the_gateway(ask: Callable[[TestClient, Hub], Awaitable[None]], certify: app.Certify | None = None) -> None:
    """Run `ask` against a gateway that knows TOKENS."""

    async def authenticate(token: str) -> Caller | None:
        return TOKENS.get(token)

    async def run() -> None:
        hub = Hub(lambda: 7.0, lambda: None)
        async with TestClient(TestServer(app.make_app(hub, authenticate, certify))) as client:
            await ask(client, hub)

    asyncio.run(run())


def test_an_application_that_has_ended_holds_neither_hub_nor_authority() -> None:
    held: list[weakref.ref[Hub]] = []

    async def ask(client: TestClient, hub: Hub) -> None:
        held.append(weakref.ref(hub))
        assert (await send(client, a_report().model_dump_json().encode()))[0] == 200

    at_the_gateway(ask)
    gc.collect()
    assert held[0]() is None


async def send(client: TestClient, body: bytes, token: str = "token-0") -> tuple[int, str]:
    async with client.post("/v1/report", data=body, headers=bearing(token)) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize("path", ["/v1/report", "/v1/certificate", "/v1/orders", "/elsewhere"])
@pytest.mark.parametrize("headers", [{}, bearing(""), bearing("stolen"), {"Authorization": "Basic token-0"}])
def test_a_caller_without_a_known_token_gets_nowhere(path: str, headers: dict[str, str]) -> None:
    async def ask(client: TestClient, hub: Hub) -> None:
        method = "POST" if path in ("/v1/report", "/v1/certificate") else "GET"
        async with client.request(method, path, data=a_report().model_dump_json(), headers=headers) as answer:
            assert answer.status == 401
        assert hub.heard == ()

    at_the_gateway(ask)


def test_a_report_is_taken_with_the_time_at_which_it_came() -> None:
    async def ask(client: TestClient, hub: Hub) -> None:
        status, _ = await send(client, a_report().model_dump_json().encode())
        assert status == 200
        assert [(heard.report, heard.at) for heard in hub.heard] == [(a_report(), 7.0)]

    at_the_gateway(ask)


@pytest.mark.parametrize(
    "report",
    [a_report("uid-1"), a_report("nobody"), *(a_report().model_copy(update={"job": job}) for job in ("other", ""))],
)
def test_a_token_speaks_for_no_pod_but_its_own(report: AgentReport, caplog: pytest.LogCaptureFixture) -> None:
    async def ask(client: TestClient, hub: Hub) -> None:
        status, sentence = await send(client, report.model_dump_json().encode())
        assert (status, hub.heard) == (403, ())
        assert sentence == line

    claimed = f"a report for pod {report.pod_uid} of job {report.job!r}"
    line = f"the token of pod uid-0 of job {a_report().job!r} came with {claimed}"
    at_the_gateway(ask)
    assert [each.getMessage() for each in caplog.records if each.name == "checkpointheal.gateway"] == [line]


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b"[" * 100, a_report().model_dump_json().encode()[:-1]])
def test_a_report_that_cannot_be_read_is_refused(body: bytes) -> None:
    async def ask(client: TestClient, hub: Hub) -> None:
        status, _ = await send(client, body)
        assert (status, hub.heard) == (400, ())

    at_the_gateway(ask)


def test_a_report_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "REPORT_LIMIT", 4096)

    async def ask(client: TestClient, hub: Hub) -> None:
        status, _ = await send(client, a_report(serving=("x" * 250,) * 20).model_dump_json().encode())
        assert (status, hub.heard) == (413, ())

    at_the_gateway(ask)


def test_a_report_that_names_more_than_an_agent_can_hold_is_refused() -> None:
    async def ask(client: TestClient, hub: Hub) -> None:
        body = a_report(conditions=("r",) * 1024, serving=("h",) * 1024).model_dump_json().encode()
        assert len(body) < app.REPORT_LIMIT
        status, _ = await send(client, body)
        assert (status, hub.heard) == (413, ())

    at_the_gateway(ask)


def test_a_large_report_is_taken_too() -> None:
    async def ask(client: TestClient, hub: Hub) -> None:
        report = a_report(serving=("h" * 250,) * 100)
        assert await send(client, report.model_dump_json().encode()) == (200, '{"taken": 1}')
        assert [each.report for each in hub.heard] == [report]

    at_the_gateway(ask)


def test_of_a_report_with_thousands_of_faults_one_is_told() -> None:
    async def ask(client: TestClient, hub: Hub) -> None:
        status, sentence = await send(client, json.dumps({"generations": [{}] * 1000}).encode())
        assert (status, hub.heard) == (400, ())
        assert len(sentence) < 200

    at_the_gateway(ask)


def test_a_report_that_is_announced_and_does_not_come_is_waited_for_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rations, "BODY_SECONDS", 0.05)

    async def ask(client: TestClient, hub: Hub) -> None:
        reader, writer = await asyncio.open_connection(client.server.host, client.server.port)
        writer.write(
            b"POST /v1/report HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer token-0\r\nContent-Length: 9\r\n\r\nhalf"
        )
        assert b" 408 " in await reader.readline()
        writer.close()
        assert hub.heard == ()

    at_the_gateway(ask)


def test_who_leaves_in_the_middle_of_a_report_is_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async def ask(client: TestClient, hub: Hub) -> None:
        _, writer = await asyncio.open_connection(client.server.host, client.server.port)
        head = b"POST /v1/report HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer token-0\r\nContent-Length: 9\r\n\r\n"
        writer.write(head + b"half")
        assert (await send(client, a_report("uid-1").model_dump_json().encode(), "token-1"))[0] == 200
        writer.transport.abort()
        assert (await send(client, a_report("uid-1").model_dump_json().encode(), "token-1"))[0] == 200
        assert len(hub.heard) == 1

    at_the_gateway(ask)
    assert caplog.records == []


def test_a_pod_that_asks_for_more_than_its_share_is_told_to_come_later_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rations, "PATIENCE", 0.0)
    monkeypatch.setattr(pace, "PATIENCE", 0.0)
    monkeypatch.setattr(pace, "AT_ONCE", 4 * pace.A_REQUEST)
    monkeypatch.setattr(pace, "A_SECOND", 1)

    async def ask(client: TestClient, hub: Hub) -> None:
        async def refused() -> str:
            while True:
                async with client.post("/v1/report", data=b"{}", headers=bearing("token-0")) as answer:
                    if answer.status == 429:
                        return answer.headers["Retry-After"]

        assert int(await refused()) > 0
        assert (await send(client, a_report("uid-1").model_dump_json().encode(), "token-1"))[0] == 200

    at_the_gateway(ask)


def test_a_pod_that_asks_for_a_little_more_than_its_share_waits_a_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "AT_ONCE", pace.A_REQUEST)
    monkeypatch.setattr(pace, "A_SECOND", 100 * pace.A_REQUEST)

    async def ask(client: TestClient, hub: Hub) -> None:
        for sequence in range(5):
            assert (await send(client, a_report(sequence=sequence).model_dump_json().encode()))[0] == 200
        assert [heard.report.sequence for heard in hub.heard] == [4]

    at_the_gateway(ask)


def test_who_speaks_for_others_all_day_is_told_of_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    async def ask(client: TestClient, _hub: Hub) -> None:
        for each in range(5):
            assert (await send(client, a_report(f"uid-{each + 5}").model_dump_json().encode()))[0] == 403
            assert (await send(client, a_report().model_dump_json().encode(), "token-1"))[0] == 403
            assert await sit(client, "/seats/1", "uid-1.1", "token-1") == 403

    at_the_gateway(ask)
    told = [each for each in caplog.records if each.name == "checkpointheal.gateway"]
    assert [each.getMessage()[:22] for each in told] == [
        "the token of pod uid-0",
        "the token of pod uid-1",
        "the token of pod uid-1",
    ]


def test_a_report_that_was_overtaken_changes_nothing() -> None:
    async def ask(client: TestClient, hub: Hub) -> None:
        for sequence in (5, 4):
            await send(client, a_report(sequence=sequence).model_dump_json().encode())
        assert [heard.report.sequence for heard in hub.heard] == [5]

    at_the_gateway(ask)


def test_a_poll_returns_when_its_orders_change_and_not_when_anothers_do() -> None:
    async def ask(client: TestClient, hub: Hub) -> None:
        polling = asyncio.create_task(poll(client, seen="1"))
        hub.order({"uid-0": Orders(revision=1)})
        hub.order({"uid-0": Orders(revision=1), "uid-1": Orders(revision=8)})
        hub.order({"uid-0": Orders(revision=2), "uid-1": Orders(revision=8)})
        assert await polling == (200, Orders(revision=2))

    at_the_gateway(ask)


def test_orders_that_were_not_seen_are_told_at_once() -> None:
    async def ask(client: TestClient, hub: Hub) -> None:
        hub.order({"uid-0": Orders(revision=3, withdrawn=True)})
        assert await poll(client) == (200, Orders(revision=3, withdrawn=True))

    at_the_gateway(ask)


def test_a_poll_without_news_ends_with_what_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "POLL_SECONDS", 0.01)

    async def ask(client: TestClient, hub: Hub) -> None:
        assert await poll(client) == (200, Orders(revision=0))
        hub.order({"uid-0": Orders(revision=3)})
        assert await poll(client, seen="3") == (200, Orders(revision=3))

    at_the_gateway(ask)


@pytest.mark.parametrize("seen", ["x", "1.5", "", "--1", "²", "9" * 5000])
def test_a_poll_names_the_revision_that_it_saw_as_a_number(seen: str) -> None:
    async def ask(client: TestClient, hub: Hub) -> None:
        async with client.get("/v1/orders", params={"seen": seen}, headers=bearing("token-0")) as answer:
            assert answer.status == 400

    at_the_gateway(ask)


async def poll(client: TestClient, seen: str = "-1", token: str = "token-0") -> tuple[int, Orders]:
    async with client.get("/v1/orders", params={"seen": seen}, headers=bearing(token)) as answer:
        return answer.status, Orders.model_validate_json(await answer.read())


async def certificate(client: TestClient, csr: str, token: str = "token-0") -> tuple[int, str]:
    body = CertificateRequest(csr=csr).model_dump_json()
    async with client.post("/v1/certificate", data=body, headers=bearing(token)) as answer:
        return answer.status, await answer.text()


def test_a_caller_is_certified_as_who_its_token_says() -> None:
    def certify(caller: Caller, csr: str) -> Issued | Refused:
        holder = Holder(job=caller.job, member=MemberId(replica=0), pod_uid=caller.pod_uid)
        return Issued(holder=holder, chain=csr, roots="roots", renew_after=1)

    async def ask(client: TestClient, hub: Hub) -> None:
        for token, uid in (("token-0", "uid-0"), ("token-1", "uid-1")):
            status, body = await certificate(client, "a request", token)
            answer = Issued.model_validate_json(body)
            assert (status, answer.holder.pod_uid, answer.chain) == (200, uid, "a request")
        assert (await certificate(client, "a request", "stolen"))[0] == 401

    at_the_gateway(ask, certify)


@pytest.mark.parametrize(("ours", "expected"), [(False, 400), (True, 503)])
def test_a_refusal_is_told_with_its_reason(ours: bool, expected: int, caplog: pytest.LogCaptureFixture) -> None:
    async def ask(client: TestClient, hub: Hub) -> None:
        assert await certificate(client, "SECRET") == (expected, "KeyNotAllowed: not this one")

    at_the_gateway(ask, lambda caller, csr: Refused("KeyNotAllowed", "not this one", ours))
    assert "uid-0" in caplog.text
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", json.dumps({"csr": "x" * (CSR_LIMIT + 1)}).encode()])
def test_a_request_that_cannot_be_read_or_is_huge_reaches_no_authority(body: bytes) -> None:
    async def ask(client: TestClient, hub: Hub) -> None:
        async with client.post("/v1/certificate", data=body, headers=bearing("token-0")) as answer:
            assert answer.status == 400

    def certify(caller: Caller, csr: str) -> Issued | Refused:
        raise AssertionError("the authority is not asked")

    at_the_gateway(ask, certify)


def test_a_gateway_without_an_authority_says_so() -> None:
    async def ask(client: TestClient, hub: Hub) -> None:
        status, sentence = await certificate(client, "a request")
        assert (status, sentence.partition(":")[0]) == (503, "NoAuthority")

    at_the_gateway(ask)


@pytest.fixture
def two_seats(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pod of token-0 has two seats."""
    seats = Seats(pod=MemberId(replica=1), count=2)
    caller = Caller(JOB, "uid-0", "training", MemberId(replica=2), "10.0.0.1", seats)
    monkeypatch.setitem(TOKENS, "token-0", caller)


async def sit(client: TestClient, seat: str, uid: str, token: str = "token-0") -> int:
    """Report as `uid` where that seat speaks."""
    body = a_report(uid).model_dump_json()
    async with client.post(f"/v1{seat}/report", data=body, headers=bearing(token)) as answer:
        return answer.status


@pytest.mark.usefixtures("two_seats")
def test_a_token_speaks_for_every_seat_of_its_own_pod_and_for_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def ask(client: TestClient, hub: Hub) -> None:
        assert await sit(client, "", "uid-0") == 200
        assert await sit(client, "/seats/1", "uid-0.1") == 200
        assert {each.report.pod_uid for each in hub.heard} == {"uid-0", "uid-0.1"}
        forged = [("", "uid-0.1"), ("/seats/1", "uid-0"), ("/seats/1", "uid-1.1"), ("/seats/2", "uid-0.2")]
        for seat, uid in forged:
            assert await sit(client, seat, uid) == 403
        for seat in ("/seats/0", "/seats/01", "/seats/100", "/seats/x"):
            assert await sit(client, seat, "uid-0") == 404
        assert len(hub.heard) == 2

    at_the_gateway(ask)
    assert [each.getMessage() for each in caplog.records][-1] == (
        "the token of pod uid-0 came for local rank 2, and the pod has 2"
    )


@pytest.mark.usefixtures("two_seats")
def test_a_report_is_kept_in_the_place_that_the_cluster_tells_of_whichever_it_claims() -> None:
    """Once its pod was gone it was remembered as another member's, and had a vote there."""

    async def ask(client: TestClient, hub: Hub) -> None:
        assert await sit(client, "", "uid-0") == 200
        assert [str(heard.report.member) for heard in hub.heard] == ["2/0"]
        assert (await send(client, a_report("uid-1").model_dump_json().encode(), "token-1"))[0] == 200
        assert str(hub.heard[1].report.member) == "0/0"

    at_the_gateway(ask)


def test_a_pod_of_one_seat_has_no_further_ones() -> None:
    async def ask(client: TestClient, _hub: Hub) -> None:
        assert await sit(client, "/seats/1", "uid-1.1", "token-1") == 403

    at_the_gateway(ask)


@pytest.mark.usefixtures("two_seats")
def test_each_seat_is_given_its_own_orders_and_its_own_certificate() -> None:
    asked: list[Caller] = []

    def certify(caller: Caller, _csr: str) -> Refused:
        asked.append(caller)
        return Refused("NotToday", "no")

    async def ask(client: TestClient, hub: Hub) -> None:
        hub.order({"uid-0": Orders(revision=1), "uid-0.1": Orders(revision=2)})
        for where in ("/v1", "/v1/seats/1"):
            async with client.get(f"{where}/orders", headers=bearing("token-0")) as answer:
                assert Orders.model_validate_json(await answer.read()) == Orders(revision=1 + ("seats" in where))
            body = CertificateRequest(csr="x").model_dump_json()
            async with client.post(f"{where}/certificate", data=body, headers=bearing("token-0")) as answer:
                assert answer.status == 400

    at_the_gateway(ask, certify)
    found = [(each.pod_uid, str(each.member), each.host) for each in asked]
    assert found == [("uid-0", "2/0", "10.0.0.1"), ("uid-0.1", "3/0", "10.0.0.1")]
