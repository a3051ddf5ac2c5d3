"""One example under `checkpointheal local`, and what is done to it. Must not know what counts as well ended."""

import asyncio
import contextlib
import json
import os
import signal
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builders_adapters import QUIET, Seen
from builders_bad_hour import BadHour, Hang
from checkpointheal_operator.core.decisions import Decision
from checkpointheal_operator.core.phases import SeenHeal, phases
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.local import keeper
from checkpointheal_operator.local.command import parser, settings_of
from checkpointheal_operator.local.job import Hooks, LocalJob
from checkpointheal_operator.local.screen import OperatorLog
from checkpointheal_operator.local.settings import LocalSettings
from harmed.blows import Blow
from harmed.stacks import Stack
from harmed.verdict import Suffered, Told

PACE = "0.05"
"""Seconds a micro-batch, so that a blow falls between two updates as well as into one."""
UPDATES_BETWEEN = 2
PATIENCE = 600.0
"""Seconds after which a job hangs: torchrun's own deadlines, one after the other, on a busy machine."""
NO_LIMITS = {"same_step_crashes": 1000, "max_attempts": 20, "stopped_grace": 1}
"""What would rightly give a job up, were its members not killed on purpose."""


@dataclass
class Harm:
    """A blow that came to pass, and what it cost. Times in seconds."""

    blow: Blow
    at: float
    step: int
    """The highest that any rank had come to."""
    past: float | None = None
    """From the blow until every rank had made one update more; None: another blow fell before."""
    rung: str = ""
    phases: Mapping[str, float] = field(default_factory=dict)


class Ordeal:
    """A job that trains, hit by hit."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack, self._hour = stack, BadHour(folder, stack.replicas, stack.ranks, PATIENCE)
        self.harms: list[Harm] = []
        self.message = ""

    async def run(self, blows: Sequence[Blow], environment: Mapping[str, str]) -> None:
        """From the start of the job to its end, whatever that is."""
        settings = self._settings(environment)
        with contextlib.closing(OperatorLog(settings.logs)) as log:

            def told(decision: Decision, _: JobView) -> None:
                log.told(decision)
                self._hour.told(decision)

            async with LocalJob(settings, Hooks(told=told, noted=log.noted), clock=time.time) as job:
                self._hour.job = job
                self.message = await self._through(job, blows)
                self._account(job.heals)

    def suffered(self, planned: int) -> Suffered:
        """What was seen, for the verdict."""
        ranks = range(self._stack.world)
        return Suffered(
            planned=planned,
            hits=[sum(each.blow.rank == rank for each in self.harms) for rank in ranks],
            message=self.message,
            wrong_fallbacks=self._hour.wrong_fallbacks,
            told=[[Told(each["pid"], each.get("step")) for each in self._said(rank)] for rank in ranks],
        )

    async def _through(self, job: LocalJob, blows: Sequence[Blow]) -> str:
        """Empty where all blows fell and every member finished afterwards; else why not."""
        ended, hitting = asyncio.ensure_future(job.wait()), asyncio.ensure_future(self._hit(blows))
        try:
            await asyncio.wait({ended, hitting}, return_when=asyncio.FIRST_COMPLETED)
            if hitting.done():
                hitting.result()
            (self._hour.folder / "hurry").touch()
            outcome = await asyncio.wait_for(ended, PATIENCE)
        except (Hang, TimeoutError) as error:
            return f"it hangs: {error or job.loop.view.epoch.message}"
        finally:
            ended.cancel()
            hitting.cancel()
        return outcome.message if outcome.status else ""

    async def _hit(self, blows: Sequence[Blow]) -> None:
        for blow in blows:
            if not blow.amid:
                await self._hour.trains_on(UPDATES_BETWEEN)
            await asyncio.sleep(blow.wait)
            await self._strike(blow)
        await self._hour.trains_on(UPDATES_BETWEEN)

    async def _strike(self, blow: Blow) -> None:
        hour, rank = self._hour, blow.rank
        if blow.point:
            hour.arm(rank, blow.point, signal.SIGKILL)
            await hour.until(lambda: not hour.is_armed(rank), f"the point {blow.point} on rank {rank}")
        elif not blow.pod:
            await hour.until(lambda: self._process(rank), f"a process of rank {rank}")
        hour.progress.look()
        self.harms.append(Harm(blow, time.time(), max(hour.progress.step(each) for each in range(hour.world))))
        if blow.pod:
            await hour.delete_pod(rank)
        elif not blow.point and (pid := self._process(rank)):
            os.kill(pid, signal.SIGKILL)

    def _process(self, rank: int) -> int | None:
        """The rank's own, by its last word, if it lives: under torchrun not the one that its pod began with."""
        pod, said = self._hour._pod(rank), list(self._said(rank))
        pid = said[-1]["pid"] if said else None
        return pid if pod.keeper_pid and pid in keeper.below(pod.keeper_pid) else None

    def _said(self, rank: int) -> Iterator[dict[str, Any]]:
        """Its lines; the last one may be in the writing."""
        file = self._hour.folder / f"progress-{rank}.jsonl"
        for line in file.read_text().splitlines(keepends=True) if file.exists() else ():
            if line.endswith("\n"):
                yield json.loads(line)

    def _settings(self, environment: Mapping[str, str]) -> LocalSettings:
        """Those of the command line, but for limits that are meant for training that fails by itself."""
        shape = ["--replicas", str(self._stack.replicas), "--ranks", str(self._stack.ranks), "--restarts", "1000"]
        asked = parser().parse_args([*shape, "--dir", str(self._hour.folder / "logs")])
        settings = settings_of(asked, self._stack.command)
        policy = settings.policy.model_copy(update=NO_LIMITS)
        told = {"WITNESS": str(self._hour.folder), "WITNESS_PACE": PACE}
        changed = {"policy": policy, "environment": {**os.environ, **QUIET, **environment, **told}}
        return settings.model_copy(update=changed)

    def _account(self, heals: Sequence[SeenHeal]) -> None:
        self._hour.progress.look()
        for number, harm in enumerate(self.harms):
            if not any(each.blow.amid for each in self.harms[number + 1 : number + 2]):
                reached = self._hour.progress.reached(harm.step + 1, harm.at)
                harm.past = reached - harm.at if reached else None
            member = self._hour._member(harm.blow.rank)
            mine = (each for each in heals if each.heal.recipient == member and each.heal.opened_at >= harm.at)
            if (seen := next((each for each in mine if each.heal.healed), None)) is not None:
                harm.rung, harm.phases = str(seen.heal.rung), phases(seen, harm.at)


def seen(folder: Path, world: int) -> Seen | None:
    """What the ranks left behind; None where one did not come to its end."""
    found = Seen(folder, world)
    return found if all((folder / f"end-{rank}.json").exists() for rank in range(world)) else None


def medians(harms: Sequence[Harm]) -> dict[str, dict[str, float]]:
    """Of each rung, of each phase."""
    found: dict[str, dict[str, float]] = {}
    for rung in sorted({harm.rung for harm in harms if harm.rung}):
        spent = [harm.phases for harm in harms if harm.rung == rung]
        names = dict.fromkeys(name for each in spent for name in each)
        found[rung] = {name: statistics.median(each[name] for each in spent if name in each) for name in names}
    return found
