"""A job under `checkpointheal local`, to be harmed. Must not know which blows there are."""

import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

from builders_adapters import QUIET
from builders_bad_hour import BadHour
from checkpointheal_operator.core.decisions import Decision
from checkpointheal_operator.core.phases import SeenHeal
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.local import keeper
from checkpointheal_operator.local.command import parser, settings_of
from checkpointheal_operator.local.job import Hooks, LocalJob
from checkpointheal_operator.local.screen import OperatorLog
from checkpointheal_operator.local.settings import LocalSettings
from harmed.ordeal import PATIENCE, lines
from harmed.stacks import Stack

PACE = "0.05"
"""Seconds a micro-batch, so that a blow falls between two updates as well as into one."""
NO_LIMITS = {"same_step_crashes": 1000, "max_attempts": 20, "stopped_grace": 1}
"""What would rightly give a job up, were its members not killed on purpose."""


@contextlib.asynccontextmanager
async def processes(stack: Stack, folder: Path, environment: Mapping[str, str]) -> AsyncIterator["Processes"]:
    """The job, from its start to whatever is its end."""
    settings = _settings(stack, folder, environment)
    hour = BadHour(folder, stack.replicas, stack.ranks, PATIENCE)
    with contextlib.closing(OperatorLog(settings.logs)) as log:

        def told(decision: Decision, _: JobView) -> None:
            log.told(decision)
            hour.told(decision)

        async with LocalJob(settings, Hooks(told=told, noted=log.noted), clock=time.time) as hour.job:
            yield Processes(hour)


class Processes:
    """A Place, on this machine."""

    def __init__(self, hour: BadHour) -> None:
        self._hour, self.folder, self.progress = hour, hour.folder, hour.progress

    async def until(self, done: Callable[[], object], what: str) -> None:
        await self._hour.until(done, what)

    async def arm(self, rank: int, point: str) -> None:
        self._hour.arm(rank, point, signal.SIGKILL)

    def is_armed(self, rank: int) -> bool:
        return self._hour.is_armed(rank)

    async def await_process(self, rank: int) -> None:
        await self._hour.until(lambda: self._process(rank), f"a process of rank {rank}")

    async def kill(self, rank: int) -> None:
        if pid := self._process(rank):
            os.kill(pid, signal.SIGKILL)

    async def delete_pod(self, rank: int) -> None:
        await self._hour.delete_pod(rank)

    async def hurry(self) -> None:
        (self.folder / "hurry").touch()

    async def ended(self) -> str:
        outcome = await self._hour.job.wait()
        return outcome.message if outcome.status else ""

    def heals(self) -> Sequence[SeenHeal]:
        return self._hour.job.heals

    def wrong_fallbacks(self) -> Sequence[str]:
        return self._hour.wrong_fallbacks

    def _process(self, rank: int) -> int | None:
        """The rank's own, by its last word, if it lives: under torchrun not the one that its pod began with."""
        pod, said = self._hour._pod(rank), list(lines(self.folder, rank))
        pid = said[-1]["pid"] if said else None
        return pid if pod.keeper_pid and pid in keeper.below(pod.keeper_pid) else None


def _settings(stack: Stack, folder: Path, environment: Mapping[str, str]) -> LocalSettings:
    """Those of the command line, but for limits that are meant for training that fails by itself."""
    shape = ["--replicas", str(stack.replicas), "--ranks", str(stack.ranks), "--restarts", "1000"]
    asked = parser().parse_args([*shape, "--dir", str(folder / "logs")])
    settings = settings_of(asked, stack.command)
    policy = settings.policy.model_copy(update=NO_LIMITS)
    told = {"WITNESS": str(folder), "WITNESS_PACE": PACE}
    changed = {"policy": policy, "environment": {**os.environ, **QUIET, **environment, **told}}
    return settings.model_copy(update=changed)
