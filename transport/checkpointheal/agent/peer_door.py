"""How do other agents reach this one: to ask for a state, to leave and fetch private parts?

Everyone who knocks shows the job's key. What is given is decided by the agent from the operator's grants, not by what a
peer claims. Must not know process groups.
"""

import hmac
import io
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import web
from pydantic import ValidationError

from checkpointheal.agent.keep import Keep
from checkpointheal.contract.gateway import Peer
from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.peer import Ask, Meet, No
from checkpointheal.errors import PeerBroke, PeerLost, PeerRefused

ASK_SECONDS = 20.0
PRIVATE_SECONDS = 10.0


class PeerDoor:
    """The HTTP server between agents."""

    def __init__(self, key: str, keep: Keep, private_limit: int) -> None:
        self._key, self._keep, self._private_limit = key, keep, private_limit
        self.named_steps: Callable[[], tuple[int, ...]] = tuple
        self.answer_ask: Callable[[Ask], Awaitable[Meet | No]] | None = None
        self._runner: web.AppRunner | None = None

    async def open(self, host: str, port: int) -> Endpoint:
        """Listen; port 0 takes a free one. Returns where."""
        app = web.Application(client_max_size=self._private_limit, middlewares=[self._only_with_key])
        app.add_routes(
            [
                web.post("/v1/ask", self._ask),
                web.put("/v1/private/{replica:[0-9]+}/{rank:[0-9]+}/{step:[0-9]+}", self._put_private),
                web.get("/v1/private/{replica:[0-9]+}/{rank:[0-9]+}/{step:[0-9]+}", self._get_private),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        return Endpoint(host=host, port=self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _only_with_key(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        shown = request.headers.get("Authorization", "")
        if not hmac.compare_digest(shown.encode(), f"Bearer {self._key}".encode()):
            raise web.HTTPForbidden(text="another job's agent, or none")
        return await handler(request)

    async def _ask(self, request: web.Request) -> web.Response:
        try:
            ask = Ask.model_validate_json(await request.read())
        except ValidationError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        said = (
            await self.answer_ask(ask)
            if self.answer_ask
            else No(reason="NotReady", message="this agent has no arena yet")
        )
        return web.Response(status=200 if isinstance(said, Meet) else 409, body=said.model_dump_json().encode())

    async def _put_private(self, request: web.Request) -> web.Response:
        member, step = _named(request)
        self._keep.put(member, step, await request.read(), self.named_steps())
        return web.Response(status=204)

    async def _get_private(self, request: web.Request) -> web.Response:
        member, step = _named(request)
        blob = self._keep.get(member, step)
        if blob is None:
            raise web.HTTPNotFound(text=f"no private part of {member} at step {step} is kept here")
        return web.Response(body=blob)


class Peers:
    """The same conversation from the other side."""

    def __init__(self, session: aiohttp.ClientSession, key: str) -> None:
        self._session = session
        self._headers = {"Authorization": f"Bearer {key}"}

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
        url = f"http://{peer.endpoint}{path}"
        try:
            timeout = aiohttp.ClientTimeout(total=seconds)
            async with self._session.request(
                method, url, data=io.BytesIO(body) if body else None, headers=self._headers, timeout=timeout
            ) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PeerLost(f"{peer.pod} at {peer.endpoint} does not answer: {type(error).__name__}") from error


def _named(request: web.Request) -> tuple[MemberId, int]:
    part = request.match_info
    return MemberId(replica=int(part["replica"]), rank=int(part["rank"])), int(part["step"])


def _private_path(member: MemberId, step: int) -> str:
    return f"/v1/private/{member.replica}/{member.rank}/{step}"
