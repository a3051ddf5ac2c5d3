"""An API server in a dictionary: versions, status apart, merge patches, our schemas. It fails when it is told to."""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.definitions import definitions
from checkpointheal_operator.shell.cluster import AlreadyThere, Conflict, Kind, NotThere, Ref, Refused
from structural import ABSENT, Invalid, admit

SCHEMAS = {
    each["spec"]["names"]["plural"]: each["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for each in definitions()
}


LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


class Killed(BaseException):
    """The operator's process ends here. Nothing catches it."""


class FakeCluster:
    """Implements `Cluster`. `calls` holds every write; `before` and `after` it may raise, given its number."""

    def __init__(self) -> None:
        self.objects: dict[Ref, Json] = {}
        self.calls: list[tuple[str, str]] = []
        self.before: Callable[[int], None] = lambda _number: None
        self.after: Callable[[int], None] = lambda _number: None
        self.created = "1970-01-01T00:00:00Z"
        self._version = self._uid = 0

    def all(self, kind: Kind) -> list[Json]:
        return [each for ref, each in sorted(self.objects.items()) if ref.kind == kind]

    def put(self, kind: Kind, body: Json) -> Json:
        """By somebody else, whatever stands there."""
        ref = _ref(kind, body)
        uid = self.objects[ref]["metadata"]["uid"] if ref in self.objects else None
        return self._store(ref, body, uid=uid)

    async def get(self, ref: Ref) -> Json:
        return deepcopy(self._there(ref))

    async def list(self, kind: Kind, namespace: str, labels: str = "") -> list[Json]:
        wanted = [each.split("=") for each in labels.split(",") if each]
        return [
            deepcopy(each)
            for each in self.all(kind)
            if each["metadata"]["namespace"] == namespace
            and all(each["metadata"].get("labels", {}).get(key) == value for key, value in wanted)
        ]

    async def create(self, kind: Kind, body: Json) -> Json:
        def do() -> Json:
            ref = _ref(kind, body)
            if ref in self.objects:
                raise AlreadyThere(f"{ref.name} is there")
            apart = {"status"} if kind.plural in SCHEMAS else set()
            return self._store(ref, {key: value for key, value in body.items() if key not in apart})

        return self._write("create", kind.plural, do)

    async def patch(self, ref: Ref, body: Json, *, status: bool = False) -> Json:
        def do() -> Json:
            stored = self._there(ref)
            wanted = body.get("metadata", {}).get("resourceVersion", stored["metadata"]["resourceVersion"])
            if wanted != stored["metadata"]["resourceVersion"]:
                raise Conflict(f"{ref.name} was changed")
            part = {key: value for key, value in body.items() if (key == "status") == status and key != "metadata"}
            if not status and "annotations" in body.get("metadata", {}):
                part["metadata"] = {"annotations": body["metadata"]["annotations"]}
            return self._store(ref, _merged(stored, part), uid=stored["metadata"]["uid"])

        return self._write("patch status of" if status else "patch", ref.kind.plural, do)

    async def delete(self, ref: Ref, uid: str) -> None:
        def do() -> Json:
            if self._there(ref)["metadata"]["uid"] != uid:
                raise Conflict(f"{ref.name} is another one")
            return self.objects.pop(ref)

        self._write("delete", ref.kind.plural, do)

    def _write(self, verb: str, plural: str, do: Callable[[], Json]) -> Json:
        number = len(self.calls)
        self.calls.append((verb, plural))
        self.before(number)
        stored = do()
        self.after(number)
        return deepcopy(stored)

    def _there(self, ref: Ref) -> Json:
        if ref not in self.objects:
            raise NotThere(f"{ref.kind.kind} {ref.namespace}/{ref.name} is not there")
        return self.objects[ref]

    def _store(self, ref: Ref, body: Json, uid: str | None = None) -> Json:
        old = self.objects.get(ref)
        body = json.loads(json.dumps(body, allow_nan=False))
        for key, value in body["metadata"].get("labels", {}).items():
            if len(value) > 63 or not LABEL.fullmatch(value):
                raise Refused(f"metadata.labels: Invalid value: {value!r}: of {key}")
        if ref.kind.plural in SCHEMAS:
            try:
                metadata = body["metadata"]
                body = admit(SCHEMAS[ref.kind.plural], body, ABSENT if old is None else old, ref.kind.kind)
                body["metadata"] = metadata
            except Invalid as error:
                raise Refused(str(error)) from error
        self._version += 1
        self._uid += uid is None
        grown = old is not None and old.get("spec") != body.get("spec")
        body["metadata"] |= {
            "uid": uid or body["metadata"].get("uid") or f"uid-{self._uid}",
            "resourceVersion": str(self._version),
            "generation": (old["metadata"]["generation"] if old else 1) + grown,
            "creationTimestamp": old["metadata"]["creationTimestamp"]
            if old
            else body["metadata"].get("creationTimestamp", self.created),
        }
        self.objects[ref] = body
        return body


def _ref(kind: Kind, body: Json) -> Ref:
    return Ref(kind, body["metadata"]["namespace"], body["metadata"]["name"])


def _merged(stored: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(stored) if isinstance(stored, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged
