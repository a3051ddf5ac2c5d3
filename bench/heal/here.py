"""Heals of this machine's processes: two replicas under `checkpointheal local`, harmed again and again.

Of three harms two are a `kill -9` of the trainer, healed from its own memory; the third deletes the pod, agent and
memory included, and is healed by the other one. It also ends the back-off of `checkpointheal run`, which doubles.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.heal.figures import MODEL, Sample
from bench.heal.told import restored
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import AgentReport
from checkpointheal_operator.core.decisions import Assign, BeginEpoch, Decision, OpenHeal
from checkpointheal_operator.core.hearing import is_news
from checkpointheal_operator.core.phases import SeenHeal, phases
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.demo.plain import Launch, Restarted, recover_from_checkpoint
from checkpointheal_operator.demo.progress import Progress
from checkpointheal_operator.gateway.hub import Hub
from checkpointheal_operator.local.job import Hooks, LocalJob
from checkpointheal_operator.local.places import free_port
from checkpointheal_operator.local.settings import LocalSettings

REPLICAS, VICTIM = 2, MemberId(replica=1)
STEPS_BETWEEN = 3
EVERY, KILL_AT = 10, 15
PATIENCE = 180.0
DELETED_EVERY = 3
QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}


def heals(count: int) -> list[Sample]:
    """So many, one after the other."""
    os.environ |= QUIET
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_Run(Path(folder)).heals(count))


def restarts(count: int) -> list[Restarted]:
    """The usual way, as often: the same training starts again from its last `torch.save`, ten steps apart."""
    os.environ |= QUIET
    found = []
    for _ in range(count):
        with tempfile.TemporaryDirectory() as folder:
            launch = Launch(Path(folder), REPLICAS, free_port(), ("--steps", "1000", *MODEL))
            found.append(asyncio.run(recover_from_checkpoint(launch, every=EVERY, kill_at=KILL_AT)))
    return found


class _Run:
    def __init__(self, folder: Path) -> None:
        self._folder, self._progress = folder, Progress(folder, REPLICAS)
        self._shares: list[float] = []
        self._news_at = 0.0

    async def heals(self, count: int) -> list[Sample]:
        settings = LocalSettings(
            job=f"bench-{os.getpid()}",
            command=(
                sys.executable,
                "-m",
                "bench.heal.trainer",
                "--out",
                str(self._folder),
                "--steps",
                "1000000",
                *MODEL,
            ),
            policy=Policy(replicas=REPLICAS),
            logs=self._folder / "logs",
            trainer_restarts=10 * count,
        )
        async with LocalJob(settings, Hooks(told=self._told), clock=time.time) as job:
            self._listen(job.loop.hub)
            await self._until(job, lambda: self._progress.behind >= STEPS_BETWEEN)
            return [await self._heal(job, number) for number in range(count)]

    async def _heal(self, job: LocalJob, number: int) -> Sample:
        step, self._shares = self._progress.behind, []
        harmed = time.time()
        await _harm(job, deletes=number % DELETED_EVERY == DELETED_EVERY - 1)
        await self._until(job, lambda: self._progress.reached(step + STEPS_BETWEEN, harmed) and _since(job, harmed))
        (seen,) = list(_since(job, harmed))[-1:]
        sample = Sample(
            rung=str(seen.heal.rung),
            restored=restored(self._folder, VICTIM.replica, harmed),
            past=(self._progress.reached(step + 1, harmed) or harmed) - harmed,
            shares=tuple(self._shares),
            phases=phases(seen, harmed),
        )
        print(f"  {number + 1}: {sample.rung} {sample.restored:.2f} s", file=sys.stderr, flush=True)
        return sample

    async def _until(self, job: LocalJob, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the job does not go on: {job.loop.view.epoch}")
            self._progress.look()
            await asyncio.sleep(0.02)

    def _told(self, decision: Decision, view: JobView) -> None:
        """Pods that go are no report's news, so that epochs which they end are left out."""
        if isinstance(decision, OpenHeal | Assign | BeginEpoch):
            self._shares.append(time.time() - self._news_at)

    def _listen(self, hub: Hub) -> None:
        """When did the last report with news come?"""
        take = hub.take

        def heard(report: AgentReport) -> None:
            before = hub.heard_of(report.pod_uid)
            take(report)
            after = hub.heard_of(report.pod_uid)
            if after is not None and is_news(before, after):
                self._news_at = time.time()

        hub.take = heard  # type: ignore[method-assign]


async def _harm(job: LocalJob, *, deletes: bool) -> None:
    pod = job.supervisor.pod(VICTIM)
    if deletes:
        await job.supervisor.delete(VICTIM)
    elif pod is not None and pod.trainer_pid is not None:
        os.kill(pod.trainer_pid, signal.SIGKILL)


def _since(job: LocalJob, harmed: float) -> Iterator[SeenHeal]:
    return (
        each
        for each in job.heals
        if each.heal.opened_at >= harmed and each.heal.recipient == VICTIM and each.heal.healed
    )
