"""How do other agents reach this one: to ask for a state, to leave and fetch private parts?

Everyone who knocks shows what `PeerTrust` asks for, before its first word where that is a certificate. What is given is
decided by the agent from the operator's grants, not by what a peer claims. Must not know process groups, keys or
certificates.
"""

import asyncio
import io
import socket
import ssl
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from checkpointheal.agent.keep import Keep
from checkpointheal.agent.peer_trust import PeerTrust
from checkpointheal.agent.porter import Arrival, Porter
from checkpointheal.contract.base import Step
from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.orders import Peer
from checkpointheal.contract.peer import Ask, Meet, No
from checkpointheal.contract.trainer import StoreAsk, StoreSaid
from checkpointheal.contract.trust import Holder
from checkpointheal.errors import PeerBroke, PeerLost, PeerRefused

ASK_SECONDS = 20.0
PRIVATE_SECONDS = 10.0
STORE_SECONDS = 30.0
BODY_SECONDS = 30.0
"""Until when a request is here whole: no agent waits longer for its answer."""
KEPT_SECONDS = 60.0
"""Of a connection on which nothing is asked. An agent lets go of its own after 15."""

_STEP: TypeAdapter[int] = TypeAdapter(Step)
_GUEST = web.RequestKey("guest", Holder)


class PeerDoor:
    """The HTTP server between agents."""

    def __init__(
        self,
        trust: PeerTrust,
        keep: Keep,
        private_limit: int,
        *,
        named_steps: Callable[[], tuple[int, ...]] = tuple,
        answer_ask: Callable[[Ask], Awaitable[Meet | No]] | None = None,
        answer_store: Callable[[StoreAsk], Awaitable[StoreSaid]] | None = None,
    ) -> None:
        """`named_steps`: those whose private parts stay, whatever is newer."""
        self._trust, self._keep, self._private_limit = trust, keep, private_limit
        self.named_steps, self.answer_ask, self.answer_store = named_steps, answer_ask, answer_store
        self._runner: web.AppRunner | None = None
        self._socket: socket.socket | None = None
        self._porter: Porter | None = None

    async def open(self, host: str, port: int) -> Endpoint:
        """Take the address; port 0 takes a free one. Listens at once, or from the first certificate on."""
        app = web.Application(client_max_size=self._private_limit, middlewares=[self._only_known])
        app.add_routes(
            [
                web.post("/v1/ask", self._ask),
                web.post("/v1/store", self._store),
                web.put("/v1/private/{replica:[0-9]+}/{rank:[0-9]+}/{step:[0-9]+}", self._put_private),
                web.get("/v1/private/{replica:[0-9]+}/{rank:[0-9]+}/{step:[0-9]+}", self._get_private),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEPT_SECONDS)
        await self._runner.setup()
        self._socket = await _bound(host, port)
        self._porter = Porter(self._socket, self._new_guest, self._pod_of)
        if self._trust.ready:
            await self.listen(None)
        return Endpoint(host=host, port=self._socket.getsockname()[1])

    async def listen(self, tls: ssl.SSLContext | None) -> None:
        """Serve new guests with this context (None: in clear). Those who are inside stay."""
        if self._runner is None or self._socket is None or self._porter is None:
            raise RuntimeError("the door is opened before it listens")
        if tls is None:
            await web.SockSite(self._runner, self._socket.dup()).start()
        else:
            self._porter.admit(tls)

    def expect(self) -> Arrival:
        """A recipient that will come to this very port for a state, with a ticket of its own."""
        if self._porter is None:
            raise RuntimeError("the door is opened before anybody is expected")
        return self._porter.expect()

    async def close(self) -> None:
        """Stop listening."""
        if self._porter is not None:
            await self._porter.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._socket is not None:
            self._socket.close()

    def _pod_of(self, transport: asyncio.Transport) -> str | None:
        holder = self._trust.holder(transport.get_extra_info("peercert"))
        return None if holder is None else holder.pod_uid

    def _new_guest(self) -> asyncio.Protocol:
        if self._runner is None or self._runner.server is None:
            raise RuntimeError("the door is opened before guests come in")
        return self._runner.server()

    @web.middleware
    async def _only_known(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self._porter is None:
            raise RuntimeError("the door is opened before guests come in")
        with self._porter.inside.answering(request.protocol, request.transport):
            guest = self._trust.guest(request)
            if guest is not None:
                request[_GUEST] = guest
            return await handler(request)

    async def _ask(self, request: web.Request) -> web.Response:
        try:
            ask = Ask.model_validate_json(await _body(request))
        except ValidationError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        said = await self._answer(request.get(_GUEST), ask)
        return web.Response(status=200 if isinstance(said, Meet) else 409, body=said.model_dump_json().encode())

    async def _answer(self, guest: Holder | None, ask: Ask) -> Meet | No:
        if guest is not None and guest.pod_uid != ask.recipient_uid:
            return No(reason="NotTheRecipient", message=f"pod {guest.pod_uid} asks in the name of {ask.recipient_uid}")
        if self.answer_ask is None:
            return No(reason="NotReady", message="this agent has no arena yet")
        return await self.answer_ask(ask)

    async def _store(self, request: web.Request) -> web.Response:
        try:
            ask = StoreAsk.model_validate_json(await _body(request))
        except ValidationError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        if self.answer_store is None:
            raise web.HTTPNotFound(text="this agent holds no rendezvous")
        return web.Response(body=(await self.answer_store(ask)).model_dump_json().encode())

    async def _put_private(self, request: web.Request) -> web.Response:
        member, step = _named(request)
        self._keep.put(member, step, await _body(request), self.named_steps())
        return web.Response(status=204)

    async def _get_private(self, request: web.Request) -> web.Response:
        member, step = _named(request)
        blob = self._keep.get(member, step)
        if blob is None:
            raise web.HTTPNotFound(text=f"no private part of {member} at step {step} is kept here")
        return web.Response(body=blob)


class Peers:
    """The same conversation from the other side."""

    def __init__(self, session: aiohttp.ClientSession, trust: PeerTrust) -> None:
        self._session, self._trust = session, trust

    async def ask(self, donor: Peer, ask: Ask) -> Meet:
        """Ask a donor for a state; raises PeerRefused with its reason, PeerLost where it does not answer."""
        status, body = await self._request("POST", donor, "/v1/ask", ask.model_dump_json().encode(), ASK_SECONDS)
        try:
            if status == 200:
                return Meet.model_validate_json(body)
            no = No.model_validate_json(body)
        except ValidationError as error:
            raise PeerBroke(f"{donor.pod} answered {status} with something that is no answer") from error
        raise PeerRefused(no.reason, no.message)

    async def ask_store(self, host: Peer, ask: StoreAsk) -> StoreSaid:
        """Say a word to the rendezvous that this agent holds; raises PeerRefused, or PeerLost where none answers."""
        status, body = await self._request("POST", host, "/v1/store", ask.model_dump_json().encode(), STORE_SECONDS)
        if status != 200:
            raise PeerRefused("NoRendezvous", f"{host.pod} answered {status}: its agent may be an older build")
        try:
            return StoreSaid.model_validate_json(body)
        except ValidationError as error:
            raise PeerRefused("NoRendezvous", f"{host.pod} answered something that is no answer") from error

    async def put_private(self, buddy: Peer, member: MemberId, step: int, blob: bytes) -> bool:
        """Leave a private part; whether the buddy has it now."""
        status, _ = await self._request("PUT", buddy, _private_path(member, step), blob, PRIVATE_SECONDS)
        return status == 204

    async def get_private(self, holder: Peer, member: MemberId, step: int) -> bytes | None:
        """Fetch it back; None where it is not kept there."""
        status, body = await self._request("GET", holder, _private_path(member, step), None, PRIVATE_SECONDS)
        return body if status == 200 else None

    async def _request(
        self, method: str, peer: Peer, path: str, body: bytes | None, seconds: float
    ) -> tuple[int, bytes]:
        way = self._trust.way_to(peer)
        try:
            timeout = aiohttp.ClientTimeout(total=seconds)
            async with self._session.request(
                method,
                f"{way.scheme}://{peer.endpoint}{path}",
                data=io.BytesIO(body) if body else None,
                headers=way.headers,
                ssl=way.tls,
                server_hostname=way.name,
                timeout=timeout,
            ) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PeerLost(f"{peer.pod} at {peer.endpoint} does not answer: {type(error).__name__}") from error


async def _bound(host: str, port: int) -> socket.socket:
    """A socket that has the address and does not listen yet."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError as error:
        late = web.HTTPRequestTimeout(text="the request did not arrive in time")
        late.force_close()
        raise late from error


def _named(request: web.Request) -> tuple[MemberId, int]:
    """Whose part of which step. A guest that says who it is leaves and fetches only its own member's."""
    part, guest = request.match_info, request.get(_GUEST)
    try:
        step = _STEP.validate_strings(part["step"])
        member = MemberId(replica=int(part["replica"]), rank=int(part["rank"]))
    except ValueError as error:  # as of more digits than a number may have
        raise web.HTTPBadRequest(text="a private part is that of a member and a step") from error
    if guest is not None and guest.member != member:
        raise web.HTTPForbidden(text=f"the private parts of {member} are not those of {guest.member}")
    return member, step


def _private_path(member: MemberId, step: int) -> str:
    return f"/v1/private/{member.replica}/{member.rank}/{step}"
