"""`python -m soak_operator`: an operator heals one restart a second, loses and wins the lead, and must not grow.

Two replicas, as processes, before a fake API server; agents over TLS, through whichever leads. One replica lives from
beginning to end: its memory and its descriptors are what is measured. Every few minutes it loses its lease to the other
one, or gets it back because the other one is killed. Half of the restarts are trainers', half are replaced pods.
Exit status 0: it did not grow. 1: it did, or something was left over.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from bench.machine import machine
from bench.scale.agents import Agents, Door
from bench.scale.crowd import Crowd, pod
from bench.scale.processes import Api, Operator, api, free_ports, operator
from bench.scale.storm import TRUST, trusting

from checkpointheal_operator.api.spec import CheckpointHealSpec
from soak_agent import SoakAgent
from soak_figures import Sample, has_grown, kept, told

CROWD = Crowd(pods=36, jobs=12)
LEASE = "apis/coordination.k8s.io/v1/namespaces/system/leases/checkpointheal"
STEADY, OTHER = "127.0.0.1", "127.0.0.2"
SAMPLE_EVERY = 5.0
SETTLES = 60.0
KEPT = CheckpointHealSpec.model_fields["history_limit"].default
"""Heals of a job."""


class Steady(NamedTuple):
    """The replica that is measured, and where it writes what it holds."""

    replica: Operator
    file: Path

    def objects(self) -> Counter[str]:
        """How many of each type it has now."""
        self.file.unlink(missing_ok=True)
        self.replica.process.send_signal(signal.SIGUSR1)
        while not self.file.exists():
            time.sleep(0.1)
        return Counter(json.loads(self.file.read_text()))


class Soak:
    """What goes on until the time is up."""

    def __init__(self, server: Api, measured: Steady, options: argparse.Namespace) -> None:
        self._server, self._measured, self._steady = server, measured, measured.replica
        self._minutes, self._lead, self._warm_up = options.minutes, options.lead, 60 * options.warm_up
        self.objects: list[Counter[str]] = []
        """At the end of the warm-up, and at the end."""
        door = Door(f"https://localhost:{self._steady.gateway}", trusting(server.url))
        self.agents = Agents(CROWD, door, SoakAgent)
        self._dice, self.samples = random.Random(options.seed), list[Sample]()
        self.restarts, self.missed, self.losses, self.kills = 0, 0, 0, 0

    async def run(self) -> None:
        running = asyncio.create_task(self.agents.run())
        ends = time.monotonic() + 60 * self._minutes
        with contextlib.ExitStack() as other:
            self._start_other(other)
            await self._until_all_train(60)
            changing = asyncio.create_task(self._change_leaders(other))
            sampling = asyncio.create_task(self._sample())
            while time.monotonic() < ends:
                await asyncio.sleep(1.0)
                await self._restart_one()
                for each in (running, changing, sampling):
                    if each.done():
                        each.result()
            changing.cancel()
            await self._until_all_train(SETTLES)
            await asyncio.sleep(SETTLES / 4)
            sampling.cancel()
            self.left = await asyncio.to_thread(self._left)
            self.objects.append(await asyncio.to_thread(self._measured.objects))
        running.cancel()
        await asyncio.gather(running, changing, sampling, return_exceptions=True)

    async def _restart_one(self) -> None:
        """Of a job that trains: one that does not is restarting already."""
        jobs = [self.agents.all[at : at + CROWD.replicas] for at in range(0, CROWD.pods, CROWD.replicas)]
        able = [job for job in jobs if all(each.state == "training" for each in job)]
        if not able:
            self.missed += 1
            return
        agent = self._dice.choice(self._dice.choice(able))
        self.restarts += 1
        if self._dice.random() < 0.5:
            agent.end(told=False)
        else:
            await asyncio.to_thread(self._replace, agent)

    def _replace(self, agent: SoakAgent) -> None:
        made, following = pod(CROWD, agent.number), f"uid-of-pod-{agent.number}-{agent.life + 1}"
        where = f"api/v1/namespaces/{made['metadata']['namespace']}/pods"
        self._ask("DELETE", f"{where}/pod-{agent.number}", {"preconditions": {"uid": agent.uid}})
        self._loop.call_soon_threadsafe(agent.be_replaced)
        made["metadata"]["uid"] = following
        self._ask("POST", where, made)

    async def _change_leaders(self, other: contextlib.ExitStack) -> None:
        while True:
            await asyncio.sleep(60 * self._lead)
            if (await asyncio.to_thread(self._holder)).startswith("operator-0"):
                self.losses += 1
                await asyncio.to_thread(self._give_lead, f"operator-1/{OTHER}")
            else:
                self.kills += 1
                self._other.process.kill()
                other.close()
                await self._until_it_leads()
                self._start_other(other)

    async def _leads(self) -> bool:
        """A follower holds little, and would seem to have grown by the end."""
        return (await asyncio.to_thread(self._steady.metrics)).get("checkpointheal_leader") == 1.0

    async def _until_it_leads(self) -> None:
        """One that starts again under its name before its lease is over would have it back at once."""
        while not (await asyncio.to_thread(self._holder)).startswith("operator-0"):
            await asyncio.sleep(1.0)

    def _start_other(self, stack: contextlib.ExitStack) -> None:
        said = {"POD_NAME": "operator-1", "POD_IP": OTHER, "HOST": OTHER, "LEADER_PORT": LEADER_PORT}
        self._loop = asyncio.get_running_loop()
        self._other = stack.enter_context(operator(self._server.url, **TRUST, **said))

    def _holder(self) -> str:
        return str(self._ask("GET", LEASE, None)["spec"].get("holderIdentity") or "")

    def _give_lead(self, holder: str) -> None:
        self._ask("PATCH", LEASE, {"spec": {"holderIdentity": holder}})

    def _ask(self, method: str, path: str, body: dict | None) -> dict:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"{self._server.url}/{path}", data, {"Content-Type": kind}, method=method)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.load(answer)

    async def _sample(self) -> None:
        began, pid = time.monotonic(), self._steady.process.pid
        while True:
            held, tasks = (len(os.listdir(f"/proc/{pid}/{each}")) for each in ("fd", "task"))
            at, leads = time.monotonic() - began, await self._leads()
            self.samples.append(Sample(at, self._steady.memory()[0], held, tasks, leads))
            if not self.objects and at >= self._warm_up and leads:
                self.objects.append(await asyncio.to_thread(self._measured.objects))
            if len(self.samples) % 12 == 1:
                print(
                    f"{self.samples[-1]} restarts {self.restarts} losses {self.losses} kills {self.kills}", flush=True
                )
            await asyncio.sleep(SAMPLE_EVERY)

    async def _until_all_train(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not all(each.state == "training" for each in self.agents.all):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{[each.state for each in self.agents.all]}")
            await asyncio.sleep(0.1)

    def _left(self) -> list[str]:
        """What should not be there once all train."""
        heals = self._ask("GET", "apis/checkpointheal.dev/v1alpha1/heals", None)["items"]
        still_open = [each["metadata"]["name"] for each in heals if not each.get("status", {}).get("concludedAt")]
        limit = KEPT * CROWD.jobs
        found = [f"heal {each} is open" for each in still_open]
        found += [f"{len(heals)} heals are kept of {limit}"] if len(heals) > limit else []
        seen = self._steady.metrics()
        for series, most in (("checkpointheal_agents_heard", CROWD.pods + 60), ("checkpointheal_open_heals", 0)):
            found += [f"{series} {seen[series]}"] if seen.get(series, 0) > most else []
        return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m soak_operator", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="of restarts (60)")
    parser.add_argument("--warm-up", type=float, default=20.0, help="minutes that are not measured (20)")
    parser.add_argument("--lead", type=float, default=5.0, help="minutes between two changes of the leader (5)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write all that was measured into FILE, as JSON")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory()), "objects")
        server, program = stack.enter_context(api(CROWD, "soak_server")), ("-m", "soak_counted", str(file))
        steady = stack.enter_context(operator(server.url, program, **TRUST, LEADER_PORT=LEADER_PORT))
        steady.until_looked(CROWD.jobs)
        soak = Soak(server, Steady(steady, file), options)
        asyncio.run(soak.run())
    if options.keep is not None:
        said = {key: getattr(options, key) for key in ("minutes", "warm_up", "lead", "seed")}
        did = {key: getattr(soak, key) for key in ("restarts", "missed", "losses", "kills", "left", "objects")}
        options.keep.write_text(json.dumps(said | {"machine": machine()} | did | kept(soak.samples)) + "\n")
    samples = [each for each in soak.samples if each.at >= 60 * options.warm_up]
    print(f"restarts {soak.restarts}; seconds in which every job was restarting: {soak.missed}")
    print(f"the lead was lost {soak.losses} times, the other one was killed {soak.kills} times")
    print("\n".join([*told(samples, soak.objects), *(soak.left or ["nothing is left over"])]))
    return 1 if soak.left or has_grown(samples) else 0


LEADER_PORT = str(free_ports(1)[0])

if __name__ == "__main__":
    sys.exit(main())
