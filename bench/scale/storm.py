"""A thousand trainers end within ten seconds: how long does each wait for the operator's decision?

The four of a job are killed at once, 250 jobs one after the other: a thousand heals. Waited is from the report that
makes a decision possible, before it is sent, until the order arrives by the long poll: over TLS, with what is written
to the API server in between. Agents and API server share the machine's cores with the operator.
"""

import asyncio
import contextlib
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

from bench.samples import percentile
from bench.scale.agents import Agent, Agents, Door
from bench.scale.crowd import Crowd
from bench.scale.processes import Api, Operator, api, cpu_seconds, operator, total
from bench.table import Row

SMALLER, CROWD = Crowd(pods=400, jobs=100), Crowd(pods=1000, jobs=250)
SECONDS = 10.0
PATIENCE = 240.0
TARGET = 2.0
TRUST = {"ROOTS_SECRET": "roots", "ROOT_CONFIG_MAP": "root", "GATEWAY_HOSTS": "localhost"}


def rows() -> list[Row]:
    """Of a smaller storm, and of the promised one."""
    return [
        row._replace(what=f"{each.pods:,} restarts: {row.what}") for each in (SMALLER, CROWD) for row in storm(each)
    ]


def storm(crowd: Crowd) -> list[Row]:
    """Waits for both decisions of a restart, and what it cost."""
    with api(crowd) as server, operator(server.url, **TRUST) as replica:
        replica.until_looked(crowd.jobs)
        agents = Agents(crowd, Door(f"https://localhost:{replica.gateway}", trusting(server.url)))
        return asyncio.run(_storm(agents, replica, server))


async def _storm(agents: Agents, replica: Operator, server: Api) -> list[Row]:
    running = asyncio.create_task(agents.run())
    try:
        await _until(running, lambda: all(each.state == "training" for each in agents.all))
        idle = await _idle(replica)
        before, refused = await asyncio.to_thread(replica.metrics), agents.refused
        began, spent = time.monotonic(), replica.seconds()
        beside = time.process_time(), cpu_seconds(server.process.pid)
        for job in _jobs(agents.all):
            for each in job:
                each.end(told=False)
            await asyncio.sleep(max(0.0, began + SECONDS * (job[0].number + 1) / len(agents.all) - time.monotonic()))
        await _until(running, lambda: all(each.epoch == 2 and each.state == "training" for each in agents.all))
        over = time.monotonic() - began
        spent = replica.seconds() - spent
        beside = time.process_time() - beside[0], cpu_seconds(server.process.pid) - beside[1]
        after = await _settled(replica)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    heals = total(after, "checkpointheal_heals_total") - total(before, "checkpointheal_heals_total")
    writes = _writes(after) - _writes(before)
    waits = {"epoch over": list(_ended(agents.all)), "go on": list(_begun(agents.all))}
    every = [each for kind in waits.values() for each in kind]
    return [
        *(Row(f"{name}: p50", percentile(each, 50), "s") for name, each in waits.items()),
        *(Row(f"{name}: p99", percentile(each, 99), "s") for name, each in waits.items()),
        Row("every decision: p99", percentile(every, 99), "s", TARGET, f"{len(every)} waits"),
        Row("all train again after", over, "s", None, f"restarts were spread over {SECONDS:g} s"),
        Row("heals concluded", heals, "", None, f"{agents.refused - refused} requests refused"),
        Row("API writes a heal", writes / max(1.0, heals), "", 4.0, "epochs' own among them"),
        Row("processor of the operator", spent, "s", None, "in the storm"),
        Row("processor of the agents", beside[0], "s", None, "all in one process of the bench"),
        Row("processor of the API server", beside[1], "s", None, "the tests' fake one"),
        Row("processor of the operator when nothing happens", idle, "s/s", None, f"{len(agents.all)} agents report"),
        Row("most memory of the operator", replica.memory()[1], "MiB"),
    ]


def _jobs(agents: list[Agent]) -> Iterator[list[Agent]]:
    size = agents[0].crowd.replicas
    return (agents[start : start + size] for start in range(0, len(agents), size))


def _ended(agents: list[Agent]) -> Iterator[float]:
    """From the job's first word of an end until each hears that the epoch is over."""
    for job in _jobs(agents):
        first = min(each.said["absent"] for each in job)
        yield from (each.heard["over"] - first for each in job if "over" in each.heard)


def _begun(agents: list[Agent]) -> Iterator[float]:
    """From the job's last request until each hears that the next epoch has begun."""
    for job in _jobs(agents):
        last = max(each.said["waiting"] for each in job)
        yield from (each.heard["begun"] - last for each in job)


async def _idle(replica: Operator) -> float:
    await asyncio.sleep(5)
    began, spent = time.monotonic(), replica.seconds()
    await asyncio.sleep(10)
    return (replica.seconds() - spent) / (time.monotonic() - began)


async def _settled(replica: Operator) -> dict[str, float]:
    """Its metrics, once every heal that was opened is concluded."""
    while True:
        seen = await asyncio.to_thread(replica.metrics)
        if total(seen, "checkpointheal_heals_opened_total") == total(seen, "checkpointheal_heals_total"):
            return seen
        await asyncio.sleep(0.5)


async def _until(running: asyncio.Task[None], true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        if running.done():
            running.result()
        if time.monotonic() > deadline:
            raise TimeoutError("the storm does not settle")
        await asyncio.sleep(0.05)


def _writes(seen: dict[str, float]) -> float:
    """Of policies, heals and their Events; neither leases nor token reviews."""
    ours = [(s, v) for s, v in seen.items() if s.startswith("checkpointheal_api_writes_total")]
    return sum(value for series, value in ours if any(f'kind="{kind}"' in series for kind in KINDS))


KINDS = ("CheckpointHeal", "Heal", "Event")


def trusting(url: str) -> ssl.SSLContext:
    """The roots that the operator has published."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.HTTPError):
            with urllib.request.urlopen(f"{url}/api/v1/namespaces/system/configmaps/root", timeout=10) as answer:
                (text,) = json.load(answer)["data"].values()
            return ssl.create_default_context(cadata=text)
        time.sleep(0.1)
    raise TimeoutError("the operator has published no roots")
