"""An agent's two loops at its gateway end when they are told to."""

import asyncio
import time
from pathlib import Path
from typing import Any, Self

import pytest

from builders_agent import some_settings
from builders_core import a_job, m, report_of
from checkpointheal.agent import gateway_link
from checkpointheal.agent.credentials import GatewayAccess
from checkpointheal.agent.gateway_link import GatewayLink
from checkpointheal.contract.orders import NOT_KNOWN, Orders


class Ordered(GatewayLink):
    """By a gateway that answers each poll with the next of these (None: it is out of reach), and then never again."""

    def __init__(self, *revisions: int | None) -> None:
        self._revisions = iter(revisions)
        self.over = asyncio.Event()

    async def _exchange(self, *_: Any) -> bytes | None:
        for revision in self._revisions:
            return None if revision is None else Orders(revision=revision).model_dump_json().encode()
        self.over.set()
        await asyncio.Event().wait()
        return None


async def taken_of(*revisions: int | None) -> list[int]:
    """Those of the orders that were taken."""
    taken: list[int] = []
    link = Ordered(*revisions)
    following = asyncio.create_task(link.follow_orders(lambda orders: taken.append(orders.revision)))
    async with asyncio.timeout(20):
        await link.over.wait()
    following.cancel()
    return taken


def test_a_leader_that_does_not_know_its_orders_yet_takes_none_back() -> None:
    """It had a fetch stopped and a trainer told that its epoch is over, at a change of the leader."""
    assert asyncio.run(taken_of(5, NOT_KNOWN, 5, 6)) == [5, 6]


def test_orders_of_a_gateway_that_was_away_are_taken_whatever_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another leader may count from the beginning again."""
    monkeypatch.setattr(gateway_link, "RETRY_SECONDS", 0.0)
    assert asyncio.run(taken_of(1, 2, None, 1, None, 1)) == [1, 2, 1, 1]


class Answered(GatewayLink):
    """By a gateway that takes every report."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    async def _exchange(self, *_: Any) -> bytes:
        return b""


@pytest.mark.parametrize("turns", range(4))
def test_reports_end_though_there_is_news_at_that_moment(turns: int) -> None:
    """They went on for ever, and the agent with them, until it was killed."""

    async def end() -> None:
        link = Answered()
        reporting = asyncio.create_task(link.report_forever(lambda: report_of(a_job(), m("0/0")), 60.0))
        await asyncio.sleep(0.01)
        link.changed()
        for _ in range(turns):
            await asyncio.sleep(0)
        reporting.cancel()
        await asyncio.wait({reporting}, timeout=5)
        assert reporting.cancelled()

    asyncio.run(end())


@pytest.mark.parametrize(("local_rank", "where"), [(0, "/v1"), (3, "/v1/seats/3")])
def test_a_seat_speaks_where_no_older_gateway_takes_it_for_the_first(local_rank: int, where: str) -> None:
    """There a further seat is not found, rather than given the first one's orders."""
    asked: list[str] = []

    class Session:
        def request(self, method: str, url: str, **_: Any) -> Any:
            asked.append(f"{method} {url}")
            raise TimeoutError

    access = GatewayAccess(some_settings(Path("/arena"), 0))
    link = GatewayLink(Session(), "http://gateway/", access, local_rank)
    assert asyncio.run(link.certificate("csr")) is None
    assert asked == [f"POST http://gateway{where}/certificate"]


class Answer:
    """Of a gateway, with this status."""

    def __init__(self, status: int) -> None:
        self.status = status

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def read(self) -> bytes:
        return b"{}"

    async def text(self) -> str:
        return "come again in 1 s"


def test_an_agent_that_is_told_to_come_later_does_so_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_link, "RETRY_SECONDS", 0.05)
    statuses, came = [429, 200], list[float]()

    class Session:
        def request(self, *_: Any, **_more: Any) -> Answer:
            came.append(time.monotonic())
            return Answer(statuses[len(came) - 1])

    async def report() -> None:
        link = GatewayLink(Session(), "http://gateway/", GatewayAccess(some_settings(Path("/arena"), 0)))
        reporting = asyncio.create_task(link.report_forever(lambda: report_of(a_job(), m("0/0")), 60.0))
        while len(came) < 2:
            await asyncio.wait({reporting}, timeout=0.01)
        reporting.cancel()
        await asyncio.wait({reporting})

    asyncio.run(report())
    assert came[1] - came[0] >= 0.05


def test_a_gateway_that_gives_no_answer_is_told_of_once_until_it_does(caplog: pytest.LogCaptureFixture) -> None:
    statuses = iter((429, 0, 200, 0, 429))

    class Session:
        def request(self, *_: Any, **_more: Any) -> Answer:
            if status := next(statuses):
                return Answer(status)
            raise TimeoutError

    async def ask() -> None:
        link = GatewayLink(Session(), "http://gateway/", GatewayAccess(some_settings(Path("/arena"), 0)))
        for _ in range(5):
            await link.certificate("csr")

    asyncio.run(ask())
    assert [record.message for record in caplog.records if "certificate" not in record.message] == [
        "the gateway answers 429: come again in 1 s",
        "the gateway at http://gateway/v1 does not answer: TimeoutError",
    ]
