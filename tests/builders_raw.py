"""The API server itself, past kubectl: what it answers to a body, and which fields it complains of."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any, NamedTuple

from builders_cluster import CONTEXT

Json = dict[str, Any]
PATIENCE = 60.0
DRY = "?dryRun=All"


class Answer(NamedTuple):
    """Its status, and the object or what is wrong with it."""

    status: int
    body: Json
    warnings: list[str]

    @property
    def is_good(self) -> bool:
        return self.status in (200, 201)

    @property
    def complaints(self) -> dict[str, str]:
        """What is wrong, by the field's name."""
        causes = self.body.get("details", {}).get("causes", [])
        return {each.get("field", ""): each.get("message", "") for each in causes}

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))[:500]


class Api(NamedTuple):
    """Reached through `kubectl proxy`, so that access is kubectl's."""

    port: int

    def ask(self, method: str, path: str, body: Json | None = None) -> Answer:
        """One request; any status is an answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            headers = {"Content-Type": "application/json", "Accept": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            warnings = [json.loads(each.partition(" - ")[2]) for each in answer.headers.get_all("Warning", [])]
            return Answer(answer.status, json.loads(answer.read()), warnings)
        finally:
            connection.close()


@contextmanager
def api_server() -> Iterator[Api]:
    """As long as it is needed."""
    command = ["kubectl", "--context", CONTEXT, "proxy", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
        try:
            assert proxy.stdout is not None
            yield Api(int(proxy.stdout.readline().rpartition(":")[2]))
        finally:
            proxy.terminate()
