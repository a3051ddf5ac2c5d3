"""`python -m soak_server WHAT`: the bench's API server, before which pods come and go for hours.

A token says whose it is, and is good while that pod stands. What happened more than a minute ago is forgotten.
"""

import asyncio
import json
import sys

from bench.scale.api import QuickApi, filled, serve
from bench.scale.crowd import Crowd

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.shell.cluster import PODS, Ref
from fake_api import pod_token

FORGETS_EVERY = 60.0


class SoakApi(QuickApi):
    def _review(self, body: Json) -> Json:
        namespace, name, uid = body["spec"]["token"].split("/")
        found = self.cluster.objects.get(Ref(PODS, namespace, name))
        stands = found is not None and found["metadata"]["uid"] == uid
        self.tokens = {body["spec"]["token"]: pod_token(namespace, name, uid)} if stands else {}
        return super()._review(body)


async def main(crowd: Crowd) -> None:
    api = filled(crowd, SoakApi)
    forgetting = asyncio.create_task(_forget(api))
    await serve(api)
    forgetting.cancel()


async def _forget(api: QuickApi) -> None:
    while True:
        await asyncio.sleep(FORGETS_EVERY)
        api.cluster.compact()
        api.cluster.calls.clear()
        for each in (api._encoded, api.asked, api.signed, api.selected):
            each.clear()


if __name__ == "__main__":
    asyncio.run(main(Crowd(**json.loads(sys.argv[1]))))
