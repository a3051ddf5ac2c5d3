"""How long does an operator take from its start until it sees all pods, and what does it occupy then?

From the start of its process: Python and imports are in it. Each pod that opted in is as large as a real one; as many
others are there, which the API server must not send.
"""

import statistics
import time

from bench.scale.crowd import Crowd
from bench.scale.processes import api, operator
from bench.table import Row

SIZES = ((1_000, 5.0, 150.0), (5_000, 15.0, 250.0), (10_000, 30.0, 400.0))
"""Pods, seconds, MiB."""
PODS_A_JOB = 50
ROUNDS = 3
STAYS = 6.0
"""Seconds after which memory is read again: a second list, and a round over all pods, are over by then."""


def rows() -> list[Row]:
    """For each size."""
    return [row for size in SIZES for row in _rows(*size)]


def _rows(pods: int, seconds: float, mebibytes: float) -> list[Row]:
    crowd = Crowd(pods, max(1, pods // PODS_A_JOB), others=pods)
    taken = []
    with api(crowd) as server:
        for _ in range(ROUNDS):
            given = server.told()["pods given"]
            taken.append((*_round(server.url, crowd), server.told()["pods given"] - given))
    synced, busy, leading, memory, spent, got = (statistics.median(each) for each in zip(*taken, strict=True))
    name = f"{pods:,} pods"
    return [
        Row(f"{name}: start to synced", synced, "s", seconds, f"median of {ROUNDS}"),
        Row(f"{name}: processor until synced", busy, "s"),
        Row(f"{name}: start to every job looked at", leading, "s", None, f"{crowd.jobs} jobs"),
        Row(f"{name}: most memory", memory, "MiB", mebibytes, f"resident, {STAYS:g} s later"),
        Row(f"{name}: processor until then", spent, "s", None, "all pods listed twice, by the leader anew"),
        Row(f"{name}: pods received, as a part", got / pods, "", None, f"{pods:,} others were there"),
    ]


def _round(url: str, crowd: Crowd) -> tuple[float, ...]:
    with operator(url, LEASE=f"round-{time.monotonic_ns()}") as replica:
        synced, busy = replica.until_ready(), replica.seconds()
        leading = replica.until_looked(crowd.jobs)
        time.sleep(STAYS)
        return synced, busy, leading, replica.memory()[1], replica.seconds()
