"""How do agents reach the hub?

Over HTTP: a report up, a long poll for orders down, and a certificate for talking to other agents. Who speaks is told
by the token, never by the body; which seat of its pod, by the path. Must not know what reports mean, nor what makes a
certificate.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from aiohttp import web
from pydantic import ValidationError

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.log_lines import about
from checkpointheal.contract.report import AgentReport
from checkpointheal.contract.seats import Seats, seat_uid
from checkpointheal.contract.trust import CertificateRequest, Issued
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.gateway.authority import Refused
from checkpointheal_operator.gateway.hub import Hub

log = logging.getLogger("checkpointheal.gateway")

REPORT_LIMIT = 1 << 20
POLL_SECONDS = 20.0
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

Known = Callable[[asyncio.BaseProtocol], None]
"""Told by which protocol a request came whose token is good."""


@dataclass
class _Served:
    """What the handlers serve, as long as they do: aiohttp remembers those of hundreds of applications that ended."""

    hub: Hub
    authenticate: Authenticate
    certify: Certify | None
    known: Known

    async def let_go(self, _app: web.Application) -> None:
        vars(self).clear()


_CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)


def make_app(
    hub: Hub, authenticate: Authenticate, certify: Certify | None = None, known: Known = lambda _protocol: None
) -> web.Application:
    """The gateway as an aiohttp application; without `certify` it gives no certificates."""
    served = _Served(hub, authenticate, certify, known)

    @web.middleware
    async def only_known(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        caller = await served.authenticate(token) if scheme == "Bearer" and token else None
        if caller is None:
            raise web.HTTPUnauthorized(text="this token is no agent's: it is missing, expired or of another cluster")
        served.known(request.protocol)
        local_rank = int(request.match_info.get("seat", "0"))
        seated = caller.at(local_rank)
        if seated is None:
            raise _no_such_seat(caller, local_rank)
        request[_CALLER] = seated
        return await handler(request)

    async def report(request: web.Request) -> web.Response:
        try:
            said = AgentReport.model_validate_json(await request.read())
        except ValidationError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        if (said.job, said.pod_uid) != request[_CALLER][:2]:
            raise _forbidden(request[_CALLER], said)
        served.hub.take(said, request[_CALLER].namespace)
        return web.Response(body=b'{"taken": %d}' % said.sequence, content_type="application/json")

    async def orders(request: web.Request) -> web.Response:
        try:
            seen = int(request.query.get("seen", "-1"))
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"seen must be a number: {error}") from error
        standing = await served.hub.orders(request[_CALLER].pod_uid, seen, POLL_SECONDS)
        return web.Response(body=standing.model_dump_json().encode(), content_type="application/json")

    app = web.Application(client_max_size=REPORT_LIMIT, middlewares=[only_known])
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


def _forbidden(caller: Caller, said: AgentReport) -> web.HTTPForbidden:
    """Somebody speaks for another pod: worth a line, for no agent of ours does."""
    reason = Reason.NOT_ITS_OWN
    facts = about(namespace=caller.namespace, job=caller.job, member=caller.member, reason=reason)
    log.warning("%s", reason.tell(pod=caller.pod_uid, claimed=said.pod_uid, job=said.job), extra=facts)
    return web.HTTPForbidden(text=f"this token speaks for pod {caller.pod_uid}, not for {said.pod_uid}")


def _no_such_seat(caller: Caller, local_rank: int) -> web.HTTPForbidden:
    """As bad as speaking for another pod."""
    reason, count = Reason.NO_SUCH_SEAT, caller.seats.count if caller.seats else 1
    message = reason.tell(pod=caller.pod_uid, local_rank=local_rank, count=count)
    log.warning("%s", message, extra=about(namespace=caller.namespace, job=caller.job, reason=reason))
    return web.HTTPForbidden(text=message)


def _certificate(served: _Served) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def certificate(request: web.Request) -> web.Response:
        try:
            asked = CertificateRequest.model_validate_json(await request.read())
        except ValidationError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        caller = request[_CALLER]
        answer = NO_AUTHORITY if served.certify is None else served.certify(caller, asked.csr)
        if isinstance(answer, Refused):
            facts = about(job=caller.job, member=caller.member, reason=answer.reason)
            log.warning("pod %s gets no certificate: %s", caller.pod_uid, answer.message, extra=facts)
            return web.Response(status=503 if answer.ours else 400, text=f"{answer.reason}: {answer.message}")
        return web.Response(body=answer.model_dump_json().encode(), content_type="application/json")

    return certificate
