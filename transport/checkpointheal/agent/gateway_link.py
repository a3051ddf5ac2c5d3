"""How does the agent reach its operator: reports up, orders down?

Two loops over HTTP that survive anything: a report whenever something changed and once in a while, and a long poll for
orders. Beside them the request for a certificate. Nothing here decides.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

import aiohttp
from pydantic import ValidationError

from checkpointheal.agent.credentials import GatewayAccess
from checkpointheal.contract.orders import NOT_KNOWN, POLL_SECONDS, Orders
from checkpointheal.contract.report import AgentReport
from checkpointheal.contract.trust import CertificateRequest, Issued

log = logging.getLogger("checkpointheal.agent")

RETRY_SECONDS = 0.5
CERTIFICATE_SECONDS = 10.0


class GatewayLink:
    """Reports and orders of one agent."""

    def __init__(self, session: aiohttp.ClientSession, url: str, access: GatewayAccess, local_rank: int = 0) -> None:
        """`local_rank`: which seat of its pod speaks."""
        self._session, self._url = session, url.rstrip("/") + (f"/v1/seats/{local_rank}" if local_rank else "/v1")
        self._access = access
        self._changed = asyncio.Event()
        self._reached = True

    def changed(self) -> None:
        """Something that the operator should know is new."""
        self._changed.set()

    async def report_forever(self, report: Callable[[], AgentReport], every: float) -> None:
        """Send the whole truth, at once after a change, else every `every` seconds."""
        while True:
            self._changed.clear()
            body = report().model_dump_json().encode()
            if await self._exchange("POST", "/report", body, {}, RETRY_SECONDS * 10) is None:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every):  # `wait_for` of Python 3.11 may swallow being cancelled
                    await self._changed.wait()

    async def follow_orders(self, take: Callable[[Orders], None]) -> None:
        """Hand over each new set of orders. While a leader does not know any, those before stand."""
        seen = -1
        while True:
            body = await self._exchange("GET", "/orders", None, {"seen": str(seen)}, POLL_SECONDS + 10)
            if body is None:
                await asyncio.sleep(RETRY_SECONDS)
                seen = -1
                continue
            try:
                orders = Orders.model_validate_json(body)
            except ValidationError as error:
                log.warning("orders that this version cannot read: %s", str(error).partition("\n")[0])
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if orders.revision not in (seen, NOT_KNOWN):
                seen = orders.revision
                take(orders)

    async def certificate(self, csr: str) -> Issued | None:
        """A certificate for the key of this PKCS #10 request; None where there is none to be had now."""
        body = CertificateRequest(csr=csr).model_dump_json().encode()
        answer = await self._exchange("POST", "/certificate", body, {}, CERTIFICATE_SECONDS)
        try:
            return None if answer is None else Issued.model_validate_json(answer)
        except ValidationError as error:
            log.warning("a certificate that this version cannot read: %s", str(error).partition("\n")[0])
            return None

    async def _exchange(
        self, method: str, path: str, body: bytes | None, query: dict[str, str], seconds: float
    ) -> bytes | None:
        try:
            async with self._session.request(
                method,
                self._url + path,
                data=body,
                params=query,
                headers={"Authorization": f"Bearer {self._access.token()}"},
                ssl=self._access.tls,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                if response.status != 200:
                    self._say_once(f"the gateway answers {response.status}: {(await response.text())[:200]}")
                    return None
                self._reached = True
                return await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._say_once(f"the gateway at {self._url} does not answer: {type(error).__name__}")
            return None

    def _say_once(self, sentence: str) -> None:
        if self._reached:
            log.warning("%s", sentence)
        self._reached = False
