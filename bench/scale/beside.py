"""What does an operator of 10,000 pods that opted in notice of 50,000 others?

Before the tests' API server, which answers a selector as a real one does (`filtering` shows that one does).
"""

import asyncio

from bench.scale import disturbing
from bench.scale.crowd import CROWDED, OTHERS
from bench.scale.processes import Operator, api, operator
from bench.table import Row
from checkpointheal_operator.shell.access import Access
from checkpointheal_operator.shell.kube import Kube


def rows() -> list[Row]:
    """Start, memory, what it was given, and what others' changes cost."""
    with api(CROWDED) as server, operator(server.url) as replica:
        found = asyncio.run(_seen(server.url, replica))
        return [*found, disturbing.held(replica, CROWDED.pods, CROWDED.others)]


async def _seen(url: str, replica: Operator) -> list[Row]:
    async with Access(url, lambda: "").session() as session:
        return await disturbing.rows(Kube(session, url), replica, CROWDED, OTHERS)
