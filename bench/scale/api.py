"""The tests' API server as a process of its own, full of pods: `python -m bench.scale.api WHAT` tells its URL.

WHAT is a JSON object: `pods`, `jobs` and `others`. Pods are as large as a cluster's own, managed fields included;
`others` have not opted in. What is listed is encoded once, as a real API server's watch cache has it.
"""

import asyncio
import json
import sys
from typing import Any
from uuid import uuid4

from aiohttp import web

from bench.scale.crowd import Crowd, other, pod, policy, token
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, PODS
from fake_api import Asked, FakeApi, WatchedCluster, _picked

Json = dict[str, Any]


class QuickApi(FakeApi):
    """Counts the pods that it gives away."""

    def __init__(self, cluster: WatchedCluster) -> None:
        super().__init__(cluster, bookmark_every=5.0)
        self._encoded: dict[tuple[str, str], bytes] = {}
        self._lists: dict[str, tuple[str, list[bytes]]] = {}
        self.given = 0

    def _list(self, request: web.Request, asked: Asked) -> web.Response:
        """All parts of a list are as of its beginning: what is made meanwhile would else count as gone."""
        name, _, start = request.query.get("continue", "").partition("/")
        if not name:
            found = [each for each in self.cluster.all(asked.kind) if _picked(each, asked.namespace, request)]
            name, start = uuid4().hex, "0"
            self._lists[name] = str(self.cluster.version), [self._bytes(each) for each in found]
        version, items = self._lists[name]
        part = items[int(start) :][: int(request.query.get("limit", str(len(items) or 1)))]
        end = int(start) + len(part)
        metadata = {"resourceVersion": version}
        if end < len(items):
            metadata["continue"] = f"{name}/{end}"
        else:
            del self._lists[name]
        head = json.dumps({"apiVersion": asked.kind.api, "kind": f"{asked.kind.kind}List", "metadata": metadata})
        if asked.kind == PODS:
            self.given += len(part)
        body = head[:-1].encode() + b', "items": [' + b",".join(part) + b"]}"
        return web.Response(body=body, content_type="application/json")

    def _bytes(self, found: Json) -> bytes:
        metadata = found["metadata"]
        key = metadata["uid"], metadata["resourceVersion"]
        if key not in self._encoded:
            self._encoded[key] = json.dumps(found).encode()
        return self._encoded[key]


def filled(crowd: Crowd, kind: type[QuickApi] = QuickApi) -> QuickApi:
    """With all of the crowd in it."""
    cluster = WatchedCluster()
    api = kind(cluster)
    for job in range(crowd.jobs):
        cluster.put(CHECKPOINTHEALS, policy(crowd, job))
    for number in range(crowd.pods):
        made = pod(crowd, number)
        cluster.put(PODS, made)
        api.tokens[made["metadata"]["uid"]] = token(made)
    for number in range(crowd.others):
        cluster.put(PODS, other(number))
    cluster.compact()
    return api


async def serve(api: QuickApi) -> None:
    """Until this process is ended. On the first line its URL; then one for each line that is asked: pods given."""
    async with api.serving() as url:
        print(url, flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps({"pods given": api.given, "writes": len(api.cluster.calls)}), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(filled(Crowd(**json.loads(sys.argv[1])))))
