"""What keeps an agent and its gateway in touch, and lets go when the agent does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace

import builders_agent as agents
from checkpointheal.agent.credentials import GatewayAccess
from checkpointheal.agent.gateway_link import GatewayLink
from checkpointheal.contract.gateway import AgentReport
from checkpointheal.contract.identity import Endpoint


class Session:
    """A gateway that takes every report."""

    def __init__(self) -> None:
        self.taken = asyncio.Event()

    @contextlib.asynccontextmanager
    async def request(self, *_: object, **__: object) -> AsyncIterator[SimpleNamespace]:
        async def read() -> bytes:
            self.taken.set()
            return b""

        yield SimpleNamespace(status=200, read=read)


def a_report() -> AgentReport:
    return AgentReport(
        job="job",
        member=agents.a_member(0),
        pod="p",
        pod_uid="u",
        agent="a",
        sequence=1,
        endpoint=Endpoint(host="h", port=1),
    )


def test_an_agent_that_is_ended_at_the_instant_of_its_news_ends(tmp_path):
    async def story() -> None:
        session = Session()
        link = GatewayLink(session, "http://h", GatewayAccess(agents.some_settings(tmp_path)))
        reporting = asyncio.create_task(link.report_forever(a_report, 3600))
        await session.taken.wait()
        await asyncio.sleep(0)
        link.changed()
        reporting.cancel()
        for _ in range(100):
            await asyncio.sleep(0)
        assert reporting.cancelled()

    asyncio.run(story())
