"""How is a real API server asked? The `Cluster` over HTTP, and beside it long lists and streams for whoever watches.

One try, and what became of it: a second one is the caller's decision, who knows whether it still wants the same. Must
not know what our objects mean.
"""

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from http import HTTPStatus
from typing import NamedTuple

import aiohttp
from yarl import URL

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.shell.cluster import (
    AlreadyThere,
    ClusterError,
    Conflict,
    Expired,
    Forbidden,
    Kind,
    NotKnown,
    NotThere,
    Ref,
    Refused,
    Silent,
    TooManyRequests,
    Unreachable,
)

ANSWER_SECONDS, CONNECT_SECONDS = 15.0, 5.0
QUIET_SECONDS = 75.0
"""As a rule a stream says something every minute, a bookmark if nothing else. The API promises none."""
STREAM_SECONDS = 300
CHUNK = 100
"""Objects of a list that are read at once: five hundred pods are 8 MB of JSON, and 50 MB once they are read."""
MERGE = "application/merge-patch+json"
PATIENCE = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)


class Selection(NamedTuple):
    """Objects of a kind; of all namespaces where none is named."""

    kind: Kind
    labels: str = ""
    namespace: str = ""
    fields: str = ""


class Page(NamedTuple):
    """A part of a list, the version of the whole, and how to go on; empty at its end."""

    items: list[Json]
    version: str
    more: str


class Asked(NamedTuple):
    """A request."""

    method: str
    path: str
    query: dict[str, str] | None = None
    body: Json | None = None
    content: str = "application/json"


class Kube:
    """The API server at `url`. Implements `Cluster`; every method raises ClusterError."""

    def __init__(self, session: aiohttp.ClientSession, url: str, quiet: float = QUIET_SECONDS) -> None:
        self._session, self._url, self._quiet = session, url.rstrip("/"), quiet

    async def get(self, ref: Ref) -> Json:
        """One object."""
        return await self._ask(Asked("GET", _path(*ref)))

    async def all(self, selection: Selection) -> list[Json]:
        """All that is selected, as of one moment."""
        found: list[Json] = []
        more = ""
        while True:
            page = await self.page(selection, more)
            found += page.items
            if not (more := page.more):
                return found

    async def list(self, kind: Kind, namespace: str, labels: str = "") -> list[Json]:
        """All objects that the labels pick, as of one moment."""
        return await self.all(Selection(kind, labels, namespace))

    async def page(self, selection: Selection, more: str = "") -> Page:
        """The next part of a list. Raises Expired where the rest of it is forgotten."""
        query = {"limit": str(CHUNK), "labelSelector": selection.labels, "continue": more}
        query |= {"fieldSelector": selection.fields}
        found = await self._ask(Asked("GET", _path(selection.kind, selection.namespace), _said(query)))
        about = found["metadata"]
        return Page(found.get("items") or [], about["resourceVersion"], about.get("continue", ""))

    async def create(self, kind: Kind, body: Json) -> Json:
        """A new object, as it was stored."""
        namespace = body.get("metadata", {}).get("namespace", "")
        return await self._ask(Asked("POST", _path(kind, namespace), body=body))

    async def patch(self, ref: Ref, body: Json, *, status: bool = False) -> Json:
        """A merge patch of all but the status, or of the status alone."""
        path = _path(*ref) + ("/status" if status else "")
        return await self._ask(Asked("PATCH", path, body=body, content=MERGE))

    async def add_ephemeral(self, pod: Ref, containers: Sequence[Json]) -> None:
        """These are its ephemeral containers from now on; those that it has must be among them."""
        body = {"spec": {"ephemeralContainers": [*containers]}}
        await self._ask(Asked("PATCH", _path(*pod) + "/ephemeralcontainers", body=body, content=MERGE))

    async def delete(self, ref: Ref, uid: str) -> None:
        """That life of the name."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        await self._ask(Asked("DELETE", _path(*ref), body=body))

    async def events(self, selection: Selection, version: str) -> AsyncGenerator[Json, None]:
        """What changed since `version`, until the stream ends. Raises Expired, and Silent after a silence."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": selection.labels,
            "fieldSelector": selection.fields,
            "resourceVersion": version,
            "timeoutSeconds": str(STREAM_SECONDS),
        }
        asked = Asked("GET", _path(selection.kind, selection.namespace), _said(query))
        patience = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=self._quiet)
        async with self._answer(asked, patience) as answer:
            async for line in _lines(answer.content):
                yield _event(line)

    async def version(self) -> Json:
        """What the API server says of its own version."""
        return await self._ask(Asked("GET", "/version"))

    async def log(self, pod: Ref, query: dict[str, str]) -> str:
        """What a pod's container wrote; `query` says which and how much, in the API's own words."""
        async with self._answer(Asked("GET", _path(*pod) + "/log", query), PATIENCE) as answer:
            return await answer.text(errors="replace")

    async def _ask(self, asked: Asked) -> Json:
        async with self._answer(asked, PATIENCE) as answer:
            return _read(await answer.read())

    @contextlib.asynccontextmanager
    async def _answer(self, asked: Asked, patience: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        body = None if asked.body is None else json.dumps(asked.body, allow_nan=False).encode()
        url = URL(self._url + asked.path)
        headers = {"Accept": "application/json, */*"} | ({} if body is None else {"Content-Type": asked.content})
        try:
            async with self._session.request(
                asked.method, url, params=asked.query, data=body, headers=headers, timeout=patience
            ) as answer:
                if answer.status >= HTTPStatus.BAD_REQUEST:
                    raise refusal(answer.status, await answer.text(errors="replace"), answer.headers.get("Retry-After"))
                yield answer
        except aiohttp.SocketTimeoutError as error:
            raise Silent(f"{asked.method} {asked.path}: nothing came for {self._quiet:g} s") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{asked.method} {asked.path}: {type(error).__name__} {error}".rstrip()) from error


def refusal(status: int, text: str, after: str | None = None) -> ClusterError:
    """What an answer over 400 means to whoever asked."""
    reason, message = _told(text)
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return NotKnown(f"{status}: {message}")
        case HTTPStatus.FORBIDDEN:
            return Forbidden(f"{status}: {message}")
        case HTTPStatus.NOT_FOUND:
            return NotThere(message)
        case HTTPStatus.CONFLICT:
            return AlreadyThere(message) if reason == "AlreadyExists" else Conflict(message)
        case HTTPStatus.GONE:
            return Expired(message)
        case HTTPStatus.TOO_MANY_REQUESTS:
            return TooManyRequests(message, float(after) if after and after.isdecimal() else 1.0)
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Unreachable(f"{status}: {message}")
        case _:
            return Refused(f"{status}: {message}")


def _event(line: bytes) -> Json:
    event = _read(line)
    if event.get("type") == "ERROR":
        told = event.get("object", {})
        raise refusal(int(told.get("code") or HTTPStatus.INTERNAL_SERVER_ERROR), json.dumps(told))
    return event


def _read(body: bytes) -> Json:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise Unreachable(f"an answer that is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Unreachable("an answer that is no object")
    return found


def _told(text: str) -> tuple[str, str]:
    """Reason and message of a Status; a proxy may answer something else."""
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return str(found.get("reason", "")), str(found.get("message", ""))
    return "", text[:500]


def _path(kind: Kind, namespace: str = "", name: str = "") -> str:
    root = f"/apis/{kind.api}" if "/" in kind.api else f"/api/{kind.api}"
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{inside}/{kind.plural}" + (f"/{name}" if name else "")


def _said(query: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in query.items() if value}


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """An object may be longer than a line that the reader knows. What the end cuts off is not told."""
    held = bytearray()
    async for part in content.iter_any():
        held += part
        *whole, rest = held.split(b"\n")
        held = bytearray(rest)
        for line in whole:
            if line:
                yield bytes(line)
