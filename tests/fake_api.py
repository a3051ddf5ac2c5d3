"""The API server in a dictionary, behind real HTTP: chunked lists, watches with bookmarks, token reviews, discovery.

It fails when it is told to: each new watch of a kind takes the next fault that waits for that kind, and `strike` gives
one to those that stand.
"""

import asyncio
import contextlib
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

from aiohttp import web
from aiohttp.test_utils import TestServer

from checkpointheal_operator.api.base import GROUP, VERSION, Json
from checkpointheal_operator.shell.cluster import (
    CHECKPOINTHEALS,
    CONFIG_MAPS,
    EVENTS,
    HEALS,
    NAMESPACES,
    PODS,
    SECRETS,
    WEBHOOKS,
    AlreadyThere,
    ClusterError,
    Conflict,
    Kind,
    NotThere,
    Ref,
    Refused,
    TooManyRequests,
)
from checkpointheal_operator.shell.leases import LEASES
from checkpointheal_operator.shell.tokens import ACCOUNT, BOUND, TOKEN_REVIEWS
from fake_cluster import FakeCluster

SERVED = (CHECKPOINTHEALS, HEALS, PODS, EVENTS, LEASES, SECRETS, CONFIG_MAPS, WEBHOOKS, NAMESPACES)
KINDS = {(each.api, each.plural): each for each in SERVED}
STATUSES: dict[type[ClusterError], tuple[int, str]] = {
    NotThere: (404, "NotFound"),
    AlreadyThere: (409, "AlreadyExists"),
    Conflict: (409, "Conflict"),
    TooManyRequests: (429, "TooManyRequests"),
    Refused: (422, "Invalid"),
}
FAULTS = ("error", "expired", "reset", "stall", "twice", "reordered", "ended")
BREAKS, LATER_BREAKS = ("error", "expired", "reset", "stall", "ended"), ("reset", "ended")
"""What a stream does not outlive; of a new one, these come only once something was sent."""
TOGETHER = 1.0
"""Seconds within which two changes come that are sent in the wrong order."""


class Change(NamedTuple):
    version: int
    what: str
    kind: Kind
    found: Json


class Stream:
    """What one watch has still to send, and what is wrong with it."""

    def __init__(self, kind: Kind, fault: str) -> None:
        self.kind, self.fault, self.at_once = kind, fault, fault not in LATER_BREAKS
        self.queue: asyncio.Queue[Change] = asyncio.Queue()

    def strike(self, fault: str) -> None:
        self.fault, self.at_once = fault, True
        self.queue.put_nowait(NOTHING)

    def breaks(self, sent: int) -> bool:
        return self.fault in BREAKS and (self.at_once or sent > 0)


NOTHING = Change(0, "", Kind("", "", ""), {})
"""Nobody asked for its kind."""


class Asked(NamedTuple):
    kind: Kind
    namespace: str
    name: str
    status: bool


class WatchedCluster(FakeCluster):
    """Remembers what changed, as far back as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[Change] = []
        self.oldest = 0
        self.streams: list[Stream] = []

    @property
    def version(self) -> int:
        return self._version

    def compact(self) -> None:
        """What changed until now is forgotten."""
        self.changes, self.oldest = [], self._version

    def remove(self, ref: Ref) -> None:
        """By somebody else."""
        found = self.objects.pop(ref)
        self._version += 1
        found["metadata"]["resourceVersion"] = str(self._version)
        self._note("DELETED", ref.kind, found)

    def hide(self, ref: Ref, label: str) -> None:
        """Somebody takes away the label by which watches are narrowed: they tell of what was there as deleted."""
        found = self.objects[ref]
        self._version += 1
        found["metadata"]["resourceVersion"] = str(self._version)
        self._note("DELETED", ref.kind, found)
        del found["metadata"]["labels"][label]

    def swallow(self, ref: Ref) -> None:
        """As `remove`, but no stream will ever tell."""
        told, self.streams = self.streams, []
        self.remove(ref)
        self.changes.pop()
        self.streams = told

    async def delete(self, ref: Ref, uid: str) -> None:
        found = self.objects.get(ref)
        await super().delete(ref, uid)
        if found is not None:
            self.objects[ref] = found
            self.remove(ref)

    def _store(self, ref: Ref, body: Json, uid: str | None = None) -> Json:
        what = "MODIFIED" if ref in self.objects else "ADDED"
        stored = super()._store(ref, body, uid)
        self._note(what, ref.kind, stored)
        return stored

    def _note(self, what: str, kind: Kind, found: Json) -> None:
        change = Change(self._version, what, kind, json.loads(json.dumps(found)))
        self.changes.append(change)
        for stream in self.streams:
            stream.queue.put_nowait(change)


class FakeApi:
    """Serves `cluster`. `tokens` are those that it knows; `refuse` may answer in its place; `asked` holds requests."""

    def __init__(self, cluster: WatchedCluster, bookmark_every: float = 0.02) -> None:
        self.cluster, self.bookmark_every, self.bookmarks = cluster, bookmark_every, True
        self.faults: defaultdict[str, deque[str]] = defaultdict(deque)
        self.tokens: dict[str, Json] = {}
        self.refuse: Callable[[web.Request], web.Response | None] = lambda _request: None
        self.asked: list[tuple[str, str]] = []
        self.signed: list[str] = []
        self.selected: list[str] = []
        self.pages_expire = 0
        self.held = 0
        self.takes = 0.0
        """Seconds for each answer."""

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its URL, while it is up."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        async with TestServer(app) as server:
            yield str(server.make_url("/")).rstrip("/")

    @contextlib.asynccontextmanager
    async def serving_at(self, path: Path) -> AsyncIterator[None]:
        """At a socket of this machine, where what is sent has arrived."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.UnixSite(runner, str(path)).start()
            yield
        finally:
            await runner.cleanup()

    def strike(self, kind: Kind, fault: str) -> None:
        """Every watch of that kind which stands has it from now on."""
        for stream in self.cluster.streams:
            if stream.kind == kind:
                stream.strike(fault)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path))
        self.signed.append(request.headers.get("Authorization", ""))
        if self.takes:
            await asyncio.sleep(self.takes)
        if (refused := self.refuse(request)) is not None:
            return refused
        if request.path in DISCOVERY:
            return web.json_response(DISCOVERY[request.path])
        if request.path.endswith("/" + TOKEN_REVIEWS.plural):
            return web.json_response(self._review(await request.json()), status=201)
        asked = _read(request.path)
        if asked is None:
            return _status(404, "NotFound", f"there is no {request.path}")
        try:
            return await self._serve(request, asked)
        except ClusterError as error:
            code, reason = STATUSES[type(error)]
            return _status(code, reason, str(error))

    async def _serve(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        ref = Ref(asked.kind, asked.namespace, asked.name)
        match request.method:
            case "GET" if asked.name:
                return web.json_response(await self.cluster.get(ref))
            case "GET" if request.query.get("watch") == "true":
                return await self._watch(request, asked)
            case "GET":
                return self._list(request, asked)
            case "POST":
                return web.json_response(await self.cluster.create(asked.kind, await request.json()), status=201)
            case "PATCH":
                assert request.content_type == "application/merge-patch+json"
                return web.json_response(await self.cluster.patch(ref, await request.json(), status=asked.status))
            case "DELETE":
                await self.cluster.delete(ref, (await request.json())["preconditions"]["uid"])
                return web.json_response({"kind": "Status", "status": "Success"})
        return _status(405, "MethodNotAllowed", request.method)

    def _list(self, request: web.Request, asked: Asked) -> web.Response:
        """A continued list that is told to expire is forgotten; one that is not shows what is there now."""
        self.selected.append(request.query.get("labelSelector", ""))
        found = [each for each in self.cluster.all(asked.kind) if _picked(each, asked.namespace, request)]
        start, limit = int(request.query.get("continue", "0")), int(request.query.get("limit", str(len(found) or 1)))
        if start and self.pages_expire:
            self.pages_expire -= 1
            return _status(410, "Expired", "the continue token is too old")
        more = str(start + limit) if start + limit < len(found) else ""
        metadata = {"resourceVersion": str(self.cluster.version)} | ({"continue": more} if more else {})
        body = {"apiVersion": asked.kind.api, "kind": f"{asked.kind.kind}List", "metadata": metadata}
        return web.json_response(body | {"items": found[start : start + limit]})

    async def _watch(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        waiting = self.faults[asked.kind.plural]
        fault = waiting.popleft() if waiting else ""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        try:
            await response.prepare(request)
        except ConnectionError:  # who asked is gone already
            return response
        since = int(request.query["resourceVersion"])
        stream = Stream(asked.kind, "expired" if since < self.cluster.oldest and fault != "error" else fault)
        for change in self.cluster.changes:
            if change.version > since:
                stream.queue.put_nowait(change)
        self.cluster.streams.append(stream)
        self.held += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await self._stream(request, response, asked, stream)
        finally:
            self.cluster.streams.remove(stream)
            self.held -= 1
        return response

    async def _stream(self, request: web.Request, response: web.StreamResponse, asked: Asked, stream: Stream) -> None:
        sent = 0
        while not stream.breaks(sent):
            changes = await self._next(stream)
            if stream.breaks(0):
                break
            changes = [each for each in changes if each.kind == asked.kind]
            changes = [each for each in changes if _picked(each.found, asked.namespace, request)]
            if stream.fault == "reordered":
                changes.reverse()
            for change in changes * (2 if stream.fault == "twice" else 1):
                await _send(response, change.what, change.found)
                sent += 1
            if self.bookmarks and stream.queue.empty() and stream.fault != "reordered":
                latest = {"kind": asked.kind.kind, "metadata": {"resourceVersion": str(self.cluster.version)}}
                await _send(response, "BOOKMARK", latest)
            if sent >= 2 and stream.fault == "reordered":
                return
        await _break(request, response, stream.fault)

    async def _next(self, stream: Stream) -> list[Change]:
        """The next changes; fewer where no more come before a bookmark is due."""
        found: list[Change] = []
        wanted, seconds = (2 if stream.fault == "reordered" else 1), self.bookmark_every
        with contextlib.suppress(TimeoutError):
            while len(found) < wanted:
                found.append(await asyncio.wait_for(stream.queue.get(), seconds))
                seconds = min(seconds, TOGETHER)
        return found

    def _review(self, body: Json) -> Json:
        known = self.tokens.get(body["spec"]["token"])
        if known is None:
            return body | {"status": {"authenticated": False, "error": "unknown token"}}
        audiences = [each for each in body["spec"]["audiences"] if each in known["audiences"]]
        return body | {"status": {"authenticated": bool(audiences), "audiences": audiences, "user": known["user"]}}


def pod_token(namespace: str, pod: str, uid: str, audience: str = "checkpointheal") -> Json:
    """What the API server knows of a token that a kubelet asked for on behalf of a pod."""
    extra = {BOUND + "pod-name": [pod], BOUND + "pod-uid": [uid]}
    user = {"username": f"{ACCOUNT}{namespace}:default", "uid": "sa", "extra": extra}
    return {"audiences": [audience], "user": user}


def _resources(*kinds: Kind) -> Json:
    resources = []
    for kind in kinds:
        verbs = ["get", "list", "watch", "create", "patch", "delete"]
        named = {"kind": kind.kind, "namespaced": True, "singularName": kind.kind.lower(), "verbs": verbs}
        resources += [named | {"name": kind.plural}, named | {"name": f"{kind.plural}/status"}]
    return {"kind": "APIResourceList", "resources": resources}


_OURS = {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
DISCOVERY: dict[str, Json] = {
    "/api": {"versions": ["v1"]},
    "/apis": {"groups": [{"name": GROUP, "versions": [_OURS], "preferredVersion": _OURS}]},
    "/api/v1": _resources(PODS, EVENTS, NAMESPACES),
    f"/apis/{GROUP}/{VERSION}": _resources(CHECKPOINTHEALS, HEALS),
}


def _read(path: str) -> Asked | None:
    parts = path.strip("/").split("/")
    if len(parts) < 2:
        return None
    api, rest = ("/".join(parts[1:3]), parts[3:]) if parts[0] == "apis" else (parts[1], parts[2:])
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    kind = KINDS.get((api, rest[0])) if rest else None
    return kind and Asked(kind, namespace, rest[1] if len(rest) > 1 else "", rest[2:] == ["status"])


def _picked(found: Json, namespace: str, request: web.Request) -> bool:
    if namespace and found["metadata"]["namespace"] != namespace:
        return False
    named = request.query.get("fieldSelector", "").partition("metadata.name=")[2].partition(",")[0]
    if named and found["metadata"]["name"] != named:
        return False
    wanted = [each.split("=", 1) for each in request.query.get("labelSelector", "").split(",") if each]
    return all(found["metadata"].get("labels", {}).get(key) == value for key, value in wanted)


def _status(code: int, reason: str, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "reason": reason, "message": message}, status=code)


async def _send(response: web.StreamResponse, what: str, found: Json) -> None:
    await response.write(json.dumps({"type": what, "object": found}).encode() + b"\n")


async def _break(request: web.Request, response: web.StreamResponse, fault: str) -> None:
    match fault:
        case "stall":
            await asyncio.Event().wait()
        case "reset" if request.transport is not None:
            request.transport.abort()
        case "error" | "expired":
            code = 500 if fault == "error" else 410
            await _send(response, "ERROR", {"kind": "Status", "code": code, "message": "etcd says no"})
