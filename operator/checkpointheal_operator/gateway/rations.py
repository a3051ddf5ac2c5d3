"""How is a request taken in without keeping the others waiting?

In time, within its pod's share, and of the large ones one by one. Must not know what it asks for.
"""

import asyncio
from collections.abc import Callable

from aiohttp import web

from checkpointheal.contract.report import AgentReport
from checkpointheal.contract.seats import pod_of
from checkpointheal_operator.gateway.caller import Caller
from checkpointheal_operator.gateway.pace import PATIENCE, Pace, TooMuch

LARGE = 16 << 10
"""Bytes of a report that is read in its turn, with everything else between it and the next."""
BODY_SECONDS = 10.0
"""Until when what was announced is here: an agent waits for its answer no longer."""


class Rations:
    """Everybody's. `clock` tells seconds that only grow."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._pace, self._turn = Pace(clock), asyncio.Lock()

    async def bear(self, caller: Caller, cost: int) -> None:
        """Until the pod's share has room for it."""
        try:
            wait = self._pace.take(pod_of(caller.pod_uid), cost, caller.seat_count)
        except TooMuch as error:
            await asyncio.sleep(PATIENCE)  # who asks again at once is answered no sooner
            raise web.HTTPTooManyRequests(text=str(error), headers={"Retry-After": str(error.seconds)}) from error
        if wait:
            await asyncio.sleep(wait)

    async def body(self, request: web.Request, caller: Caller) -> bytes:
        """Whole, in time and within the pod's share."""
        try:
            async with asyncio.timeout(BODY_SECONDS):
                found = await request.read()
        except TimeoutError as error:
            late = web.HTTPRequestTimeout(text="the request did not arrive in time")
            late.force_close()
            raise late from error
        except ConnectionError as error:
            raise web.HTTPBadRequest(text="it left in the middle of its request") from error
        await self.bear(caller, len(found))
        return found

    async def report(self, request: web.Request, caller: Caller) -> AgentReport:
        """Of large ones one is read at a time: whoever else is due comes in between. Raises ValidationError."""
        found = await self.body(request, caller)
        if len(found) <= LARGE:
            return AgentReport.model_validate_json(found)
        async with self._turn:
            await asyncio.sleep(0)
            return AgentReport.model_validate_json(found)
