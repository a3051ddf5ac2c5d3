"""How do agents reach the hub?

Over HTTP: a report up, a long poll for orders down, and a certificate for talking to other agents. Who speaks is told
by the token, never by the body; which seat of its pod, by the path. Each pod has its share of what all wait for. Must
not know what reports mean, nor what makes a certificate.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.typedefs import Middleware
from aiohttp.web_protocol import RequestHandler
from pydantic import ValidationError

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.log_lines import about
from checkpointheal.contract.orders import POLL_SECONDS
from checkpointheal.contract.report import AgentReport
from checkpointheal.contract.seats import Seats, pod_of, seat_uid
from checkpointheal.contract.trust import CertificateRequest, Issued
from checkpointheal_operator.core.reasons import Reason, quoted
from checkpointheal_operator.gateway.authority import Refused
from checkpointheal_operator.gateway.hub import Hub
from checkpointheal_operator.gateway.pace import A_REQUEST, PATIENCE, Pace, TooMuch
from checkpointheal_operator.gateway.sizes import is_too_much

log = logging.getLogger("checkpointheal.gateway")

REPORT_LIMIT = 256 << 10
"""Bytes. An agent that keeps parts of a thousand members says 150 KiB, any other less than 50."""
LARGE = 16 << 10
"""Bytes of a report that is read in its turn, with everything else between it and the next."""
BODY_SECONDS = 10.0
"""Until when what was announced is here: an agent waits for its answer no longer."""
REFUSAL_SECONDS = 0.5
"""Before one is told that its token is nobody's: whoever tries many has to wait, and an agent does so anyway."""
TOLD_EVERY = 60.0
"""Seconds, of one pod and one reason."""
SEATED = "/v1/seats/{seat:[1-9][0-9]?}"
"""Where the further seats of a pod speak. An older gateway has no such path, and cannot take them for the first."""
NO_AUTHORITY = Refused("NoAuthority", "this gateway has no authority: its agents share a key", ours=True)


class Caller(NamedTuple):
    """Whom a token stands for: a pod, by its first seat."""

    job: str
    pod_uid: str
    namespace: str = ""
    member: MemberId | None = None
    """None: nothing is known of its place yet, and it gets no certificate."""
    host: str = ""
    """The pod's address, as the cluster tells it."""
    seats: Seats | None = None
    """Who may speak with it; None: only the first seat."""

    def at(self, local_rank: int) -> "Caller | None":
        """That seat of its pod; None where the pod has no such seat."""
        if local_rank == 0:
            return self
        if self.seats is None or local_rank >= self.seats.count:
            return None
        member = None if self.member is None else self.seats.member(local_rank)
        return self._replace(pod_uid=seat_uid(self.pod_uid, local_rank), member=member)


Authenticate = Callable[[str], Awaitable[Caller | None]]
"""A bearer token to its caller; None where it is nobody's."""

Certify = Callable[[Caller, str], Issued | Refused]
"""A caller and its PKCS #10 request in PEM to its certificate, or why it gets none."""

Known = Callable[[RequestHandler, str, int], None]
"""Told by which protocol a request came whose token is good, of which pod it is, and how many seats that has."""


@dataclass
class _Served:
    """What the handlers serve, as long as they do: aiohttp remembers those of hundreds of applications that ended."""

    hub: Hub
    authenticate: Authenticate
    certify: Certify | None
    known: Known
    pace: Pace
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    told: dict[tuple[str, Reason], float] = field(default_factory=dict)

    async def bear(self, caller: Caller, cost: int) -> None:
        """Until the pod's share has room for it."""
        try:
            wait = self.pace.take(pod_of(caller.pod_uid), cost, _seats(caller))
        except TooMuch as error:
            await asyncio.sleep(PATIENCE)  # who asks again at once is answered no sooner
            raise web.HTTPTooManyRequests(text=str(error), headers={"Retry-After": str(error.seconds)}) from error
        if wait:
            await asyncio.sleep(wait)

    async def body(self, request: web.Request) -> bytes:
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
        await self.bear(request[_CALLER], len(found))
        return found

    async def read(self, request: web.Request) -> AgentReport:
        """A report. Of large ones one is read at a time: whoever else is due comes in between."""
        found = await self.body(request)
        if len(found) <= LARGE:
            return AgentReport.model_validate_json(found)
        async with self.turn:
            await asyncio.sleep(0)
            return AgentReport.model_validate_json(found)

    def tell(self, caller: Caller, reason: Reason, message: str, **facts: Any) -> None:
        """Once in a while, of each pod: who does this can do it all day."""
        key, now = (pod_of(caller.pod_uid), reason), time.monotonic()
        if now < self.told.get(key, now):
            return
        self.told = {each: until for each, until in self.told.items() if now < until} | {key: now + TOLD_EVERY}
        log.warning("%s", message, extra=about(namespace=caller.namespace, job=caller.job, reason=reason, **facts))

    async def let_go(self, _app: web.Application) -> None:
        vars(self).clear()


_CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)


def make_app(
    hub: Hub,
    authenticate: Authenticate,
    certify: Certify | None = None,
    known: Known = lambda _protocol, _pod_uid, _seats: None,
) -> web.Application:
    """The gateway as an aiohttp application; without `certify` it gives no certificates."""
    served = _Served(hub, authenticate, certify, known, Pace(time.monotonic))

    async def report(request: web.Request) -> web.Response:
        try:
            said = await served.read(request)
        except ValidationError as error:
            raise _unreadable(error) from error
        caller = request[_CALLER]
        if (said.job, said.pod_uid) != caller[:2]:
            raise _forbidden(served, caller, said)
        if is_too_much(said, pod_of(caller.pod_uid), caller.seats, served.hub.heard_of):
            raise web.HTTPRequestEntityTooLarge(REPORT_LIMIT, text="this report names more than an agent can hold")
        served.hub.take(_placed(caller, said), caller.namespace)
        return web.Response(body=b'{"taken": %d}' % said.sequence, content_type="application/json")

    async def orders(request: web.Request) -> web.Response:
        try:
            seen = int(request.query.get("seen", "-1"))
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"seen must be a number: {error}") from error
        standing = await served.hub.orders(request[_CALLER].pod_uid, seen, POLL_SECONDS)
        return web.Response(body=standing.model_dump_json().encode(), content_type="application/json")

    app = web.Application(client_max_size=REPORT_LIMIT, middlewares=[_only_known(served)])
    certificate = _certificate(served)
    for where in ("/v1", SEATED):
        app.add_routes(
            [
                web.post(f"{where}/report", report),
                web.get(f"{where}/orders", orders),
                web.post(f"{where}/certificate", certificate),
            ]
        )
    app.on_cleanup.append(served.let_go)
    return app


def _only_known(served: _Served) -> Middleware:
    @web.middleware
    async def only_known(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        caller = await served.authenticate(token) if scheme == "Bearer" and token else None
        if caller is None:
            await asyncio.sleep(REFUSAL_SECONDS)
            raise web.HTTPUnauthorized(text="this token is no agent's: it is missing, expired or of another cluster")
        served.known(request.protocol, caller.pod_uid, _seats(caller))
        await served.bear(caller, A_REQUEST)
        local_rank = int(request.match_info.get("seat", "0"))
        seated = caller.at(local_rank)
        if seated is None:
            raise _no_such_seat(served, caller, local_rank)
        request[_CALLER] = seated
        return await handler(request)

    return only_known


def _placed(caller: Caller, said: AgentReport) -> AgentReport:
    """In the place that the cluster tells of, whichever it claims: it may be remembered there once its pod is gone."""
    if caller.member in (None, said.member):
        return said
    return said.but(member=caller.member)


def _seats(caller: Caller) -> int:
    return caller.seats.count if caller.seats is not None else 1


def _unreadable(error: ValidationError) -> web.HTTPBadRequest:
    """The first of what may be thousands of faults."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return web.HTTPBadRequest(text=f"this cannot be read: {first['loc']}: {first['msg']}")


def _forbidden(served: _Served, caller: Caller, said: AgentReport) -> web.HTTPForbidden:
    """Somebody speaks for another pod: worth a line, for no agent of ours does."""
    reason = Reason.NOT_ITS_OWN
    own, job = quoted(caller.job), quoted(said.job)
    message = reason.tell(pod=caller.pod_uid, own=own, claimed=said.pod_uid, job=job)
    served.tell(caller, reason, message, member=caller.member)
    return web.HTTPForbidden(text=message)


def _no_such_seat(served: _Served, caller: Caller, local_rank: int) -> web.HTTPForbidden:
    """As bad as speaking for another pod."""
    reason = Reason.NO_SUCH_SEAT
    message = reason.tell(pod=caller.pod_uid, local_rank=local_rank, count=_seats(caller))
    served.tell(caller, reason, message)
    return web.HTTPForbidden(text=message)


def _certificate(served: _Served) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def certificate(request: web.Request) -> web.Response:
        try:
            asked = CertificateRequest.model_validate_json(await served.body(request))
        except ValidationError as error:
            raise _unreadable(error) from error
        caller = request[_CALLER]
        answer = NO_AUTHORITY if served.certify is None else served.certify(caller, asked.csr)
        if isinstance(answer, Refused):
            facts = about(job=caller.job, member=caller.member, reason=answer.reason)
            log.warning("pod %s gets no certificate: %s", caller.pod_uid, answer.message, extra=facts)
            return web.Response(status=503 if answer.ours else 400, text=f"{answer.reason}: {answer.message}")
        return web.Response(body=answer.model_dump_json().encode(), content_type="application/json")

    return certificate
