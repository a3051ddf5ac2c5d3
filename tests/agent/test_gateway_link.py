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
    """By a gateway that answers each poll with the next of these, and then never again."""

    def __init__(self, *answers: Orders) -> None:
        self._answers = iter(answers)

    async def _exchange(self, *_: Any) -> bytes:
        answer = next(self._answers, None)
        if answer is None:
            await asyncio.Event().wait()
        return answer.model_dump_json().encode()


def test_a_leader_that_does_not_know_its_orders_yet_takes_none_back() -> None:
    """It had a fetch stopped and a trainer told that its epoch is over, at a change of the leader."""

    async def follow() -> list[int]:
        taken: list[Orders] = []
        link = Ordered(*(Orders(revision=each) for each in (5, NOT_KNOWN, 5, 6)))
        following = asyncio.create_task(link.follow_orders(taken.append))
        await asyncio.wait({following}, timeout=0.1)
        following.cancel()
        return [each.revision for each in taken]

    assert asyncio.run(follow()) == [5, 6]


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


def test_an_agent_that_is_told_to_come_later_does_so_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_link, "RETRY_SECONDS", 0.05)
    statuses, came = [429, 200], list[float]()

    class Answer:
        def __init__(self) -> None:
            self.status = statuses[len(came) - 1]

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

        async def read(self) -> bytes:
            return b"{}"

        async def text(self) -> str:
            return "come again in 1 s"

    class Session:
        def request(self, *_: Any, **_more: Any) -> Answer:
            came.append(time.monotonic())
            return Answer()

    async def report() -> None:
        link = GatewayLink(Session(), "http://gateway/", GatewayAccess(some_settings(Path("/arena"), 0)))
        reporting = asyncio.create_task(link.report_forever(lambda: report_of(a_job(), m("0/0")), 60.0))
        while len(came) < 2:
            await asyncio.wait({reporting}, timeout=0.01)
        reporting.cancel()
        await asyncio.wait({reporting})

    asyncio.run(report())
    assert came[1] - came[0] >= 0.05
