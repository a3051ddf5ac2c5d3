"""What does an operator of 10,000 pods that opted in notice of 50,000 others?

Before the tests' API server, which answers a selector as a real one does (`filtering` shows that one does).
"""

import asyncio

from bench.scale import disturbing
from bench.scale.crowd import OTHERS, Crowd
from bench.scale.processes import Operator, api, operator
from bench.table import Row
from checkpointheal_operator.shell.access import Access
from checkpointheal_operator.shell.kube import Kube

CROWD = Crowd(pods=10_000, jobs=200, others=50_000)


def rows() -> list[Row]:
    """Start, memory, what it was given, and what others' changes cost."""
    with api(CROWD) as server, operator(server.url) as replica:
        ready = replica.until_ready()
        led = replica.until(lambda seen: seen.get('checkpointheal_looks_total{result="ok"}', 0) >= CROWD.jobs)
        found = asyncio.run(_disturbed(server.url, replica))
        held = replica.metrics().get('checkpointheal_watched_objects{kind="pods"}', 0.0)
        return [
            Row("start to synced", ready, "s", 30.0),
            Row("start to every job looked at", led, "s", None, f"{CROWD.jobs} jobs"),
            Row("pods that it holds", held, "", float(CROWD.pods), f"{CROWD.others:,} others are there"),
            Row("most memory", replica.memory()[1], "MiB", 400.0, "resident"),
            *found,
        ]


async def _disturbed(url: str, replica: Operator) -> list[Row]:
    async with Access(url, lambda: "").session() as session:
        return await disturbing.rows(Kube(session, url), replica, OTHERS)
