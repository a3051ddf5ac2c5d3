"""How do agents reach the hub?

Over HTTP: a report up, a long poll for orders down, and a certificate for talking to other agents. Who speaks is told
by the token, never by the body; which seat of its pod, by the path. Each pod has its share of what all wait for. Must
not know what reports mean, nor what makes a certificate.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestHandler
from pydantic import ValidationError

from checkpointheal.contract.log_lines import about
from checkpointheal.contract.orders import POLL_SECONDS
from checkpointheal.contract.report import AgentReport
from checkpointheal.contract.seats import pod_of
from checkpointheal.contract.trust import CertificateRequest
from checkpointheal_operator.core.reasons import Reason, quoted
from checkpointheal_operator.gateway.authority import Refused
from checkpointheal_operator.gateway.caller import Authenticate, Caller, Certify
from checkpointheal_operator.gateway.hub import Hub
from checkpointheal_operator.gateway.pace import A_REQUEST
from checkpointheal_operator.gateway.rations import Rations
from checkpointheal_operator.gateway.sizes import is_too_much

log = logging.getLogger("checkpointheal.gateway")

REPORT_LIMIT = 256 << 10
"""Bytes. An agent that keeps parts of a thousand members says 150 KiB, any other less than 50."""
REFUSAL_SECONDS = 0.5
"""Before one is told that its token is nobody's: whoever tries many has to wait, and an agent does so anyway."""
TOLD_EVERY = 60.0
"""Seconds, of one pod and one reason."""
SEATED = "/v1/seats/{seat:[1-9][0-9]?}"
"""Where the further seats of a pod speak. An older gateway has no such path, and cannot take them for the first."""
NO_AUTHORITY = Refused("NoAuthority", "this gateway has no authority: its agents share a key", ours=True)


Known = Callable[[RequestHandler, str, int], None]
"""Told by which protocol a request came whose token is good, of which pod it is, and how many seats that has."""


_CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)


@dataclass
class _Served:
    """What the handlers serve, as long as they do: aiohttp remembers those of hundreds of applications that ended."""

    hub: Hub
    authenticate: Authenticate
    certify: Certify | None
    known: Known
    rations: Rations
    told: dict[tuple[str, Reason], float] = field(default_factory=dict)

    @web.middleware
    async def only_known(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """With a token of somebody's, and within what its pod may ask."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        caller = await self.authenticate(token) if scheme == "Bearer" and token else None
        if caller is None:
            await asyncio.sleep(REFUSAL_SECONDS)
            raise web.HTTPUnauthorized(text="this token is no agent's: it is missing, expired or of another cluster")
        self.known(request.protocol, caller.pod_uid, caller.seat_count)
        await self.rations.bear(caller, A_REQUEST)
        local_rank = int(request.match_info.get("seat", "0"))
        seated = caller.at(local_rank)
        if seated is None:
            raise self._no_such_seat(caller, local_rank)
        request[_CALLER] = seated
        return await handler(request)

    async def report(self, request: web.Request) -> web.Response:
        """An agent's, of its own pod."""
        caller = request[_CALLER]
        try:
            said = await self.rations.report(request, caller)
        except ValidationError as error:
            raise _unreadable(error) from error
        if (said.job, said.pod_uid) != caller[:2]:
            raise self._forbidden(caller, said)
        if is_too_much(said, pod_of(caller.pod_uid), caller.seats, self.hub.heard_of):
            raise web.HTTPRequestEntityTooLarge(REPORT_LIMIT, text="this report names more than an agent can hold")
        self.hub.take(_placed(caller, said), caller.namespace)
        return web.Response(body=b'{"taken": %d}' % said.sequence, content_type="application/json")

    async def orders(self, request: web.Request) -> web.Response:
        """As soon as there are others than the agent has seen, else once in a while."""
        try:
            seen = int(request.query.get("seen", "-1"))
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"seen must be a number: {error}") from error
        standing = await self.hub.orders(request[_CALLER].pod_uid, seen, POLL_SECONDS)
        return web.Response(body=standing.model_dump_json().encode(), content_type="application/json")

    async def certificate(self, request: web.Request) -> web.Response:
        """For the agent's own key."""
        caller = request[_CALLER]
        try:
            asked = CertificateRequest.model_validate_json(await self.rations.body(request, caller))
        except ValidationError as error:
            raise _unreadable(error) from error
        answer = NO_AUTHORITY if self.certify is None else self.certify(caller, asked.csr)
        if isinstance(answer, Refused):
            facts = about(job=caller.job, member=caller.member, reason=answer.reason)
            log.warning("pod %s gets no certificate: %s", caller.pod_uid, answer.message, extra=facts)
            return web.Response(status=503 if answer.ours else 400, text=f"{answer.reason}: {answer.message}")
        return web.Response(body=answer.model_dump_json().encode(), content_type="application/json")

    async def let_go(self, _app: web.Application) -> None:
        """Nobody is served any more."""
        vars(self).clear()

    def _forbidden(self, caller: Caller, said: AgentReport) -> web.HTTPForbidden:
        """Somebody speaks for another pod: worth a line, for no agent of ours does."""
        reason = Reason.NOT_ITS_OWN
        own, job = quoted(caller.job), quoted(said.job)
        message = reason.tell(pod=caller.pod_uid, own=own, claimed=said.pod_uid, job=job)
        self._tell(caller, reason, message, member=caller.member)
        return web.HTTPForbidden(text=message)

    def _no_such_seat(self, caller: Caller, local_rank: int) -> web.HTTPForbidden:
        """As bad as speaking for another pod."""
        reason = Reason.NO_SUCH_SEAT
        message = reason.tell(pod=caller.pod_uid, local_rank=local_rank, count=caller.seat_count)
        self._tell(caller, reason, message)
        return web.HTTPForbidden(text=message)

    def _tell(self, caller: Caller, reason: Reason, message: str, **facts: Any) -> None:
        """Once in a while, of each pod: who does this can do it all day."""
        key, now = (pod_of(caller.pod_uid), reason), time.monotonic()
        if now < self.told.get(key, now):
            return
        self.told = {each: until for each, until in self.told.items() if now < until} | {key: now + TOLD_EVERY}
        log.warning("%s", message, extra=about(namespace=caller.namespace, job=caller.job, reason=reason, **facts))


def make_app(
    hub: Hub,
    authenticate: Authenticate,
    certify: Certify | None = None,
    known: Known = lambda _protocol, _pod_uid, _seats: None,
) -> web.Application:
    """The gateway as an aiohttp application; without `certify` it gives no certificates."""
    served = _Served(hub, authenticate, certify, known, Rations(time.monotonic))
    app = web.Application(client_max_size=REPORT_LIMIT, middlewares=[served.only_known])
    for where in ("/v1", SEATED):
        app.add_routes(
            [
                web.post(f"{where}/report", served.report),
                web.get(f"{where}/orders", served.orders),
                web.post(f"{where}/certificate", served.certificate),
            ]
        )
    app.on_cleanup.append(served.let_go)
    return app


def _placed(caller: Caller, said: AgentReport) -> AgentReport:
    """In the place that the cluster tells of, whichever it claims: it may be remembered there once its pod is gone."""
    if caller.member in (None, said.member):
        return said
    return said.but(member=caller.member)


def _unreadable(error: ValidationError) -> web.HTTPBadRequest:
    """The first of what may be thousands of faults."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return web.HTTPBadRequest(text=f"this cannot be read: {first['loc']}: {first['msg']}")
