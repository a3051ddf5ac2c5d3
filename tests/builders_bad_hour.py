"""A job to which one bad thing after the other is done, and the witness that it ended as if nothing had been.

Each case harms the job, waits until every rank trains on, and goes to the next; a wrong byte in any of them would still
be there at the end, and the losses, compared step by step, tell after which step it came.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from checkpointheal.contract.gateway import TransferFacts
from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.decisions import BeginEpoch, Decision
from checkpointheal_operator.core.reasons import Rung
from checkpointheal_operator.core.status import transfer_of
from checkpointheal_operator.core.view import JobView, Policy
from checkpointheal_operator.demo.progress import Progress
from checkpointheal_operator.demo.proof import compare
from checkpointheal_operator.local.job import Hooks, LocalJob
from checkpointheal_operator.local.places import free_port
from checkpointheal_operator.local.pods import Pod
from checkpointheal_operator.local.screen import OperatorLog
from checkpointheal_operator.local.settings import LocalSettings

RANKS = 3
SCRIPT = Path(__file__).parent / "kills" / "faulty_trainer.py"
HANG_SECONDS = 240.0
"""Longer than all deadlines of a heal together: what takes longer hangs."""
LOOK_EVERY = 0.02
SLOW_BYTES_PER_SECOND = 8 << 20
QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}


class Hang(AssertionError):
    """A case that never came back to training."""


class BadHour:
    """One job under attack."""

    def __init__(self, folder: Path, job: LocalJob, decisions: list[Decision]) -> None:
        self.folder, self.job, self.decisions = folder, job, decisions
        self.progress = Progress(folder, RANKS)

    async def until(self, done: Callable[[], object], what: str) -> None:
        """Look until `done()`. Raises Hang that says what never came."""
        deadline = time.monotonic() + HANG_SECONDS
        while not done():
            if time.monotonic() > deadline:
                raise Hang(f"{what} never came: {self.job.loop.view.epoch.message}; {self.decisions[-1:]}")
            self.progress.look()
            await asyncio.sleep(LOOK_EVERY)

    async def trains_on(self, updates: int = 3) -> None:
        """Every rank computes this many updates from now on: with anyone missing, nobody gets further than one."""
        now = time.time()
        await self.until(
            lambda: min(self.progress.updates_since(rank, now) for rank in range(RANKS)) >= updates,
            f"{updates} more updates on every rank",
        )

    def fallbacks(self) -> Iterator[str]:
        """Reasons of all epochs, but the first, that began without a restore step."""
        begun = [each for each in self.decisions if isinstance(each, BeginEpoch)]
        return (str(each.reason) for each in begun[1:] if each.order.rung in (Rung.CHECKPOINT, Rung.FRESH))

    def arm(self, rank: int, point: str, number: int) -> None:
        """Have the rank hit itself with this signal when it passes the point."""
        waiting = self.folder / f"arming-{rank}.json"
        waiting.write_text(json.dumps({"point": point, "signal": number}))
        waiting.rename(self.folder / f"armed-{rank}.json")

    def is_armed(self, rank: int) -> bool:
        return (self.folder / f"armed-{rank}.json").exists()

    def hit_trainer(self, rank: int, number: int = signal.SIGKILL) -> None:
        """Signal the rank's trainer, if it has one now."""
        _signal(self._pod(rank).trainer_pid, number)

    def hit_agent(self, rank: int, number: int = signal.SIGKILL) -> None:
        """Signal the rank's agent, if it has one now."""
        _signal(self._pod(rank).agent_pid, number)

    async def delete_pod(self, rank: int) -> None:
        await self.job.supervisor.delete(MemberId(replica=rank))

    async def transfer_to(self, rank: int) -> str:
        """Wait until bytes are on their way to the rank, and not all of them have come; the donor's pod."""
        await self.until(lambda: self._donor(rank), f"a transfer to rank {rank}")
        return self._donor(rank) or ""

    def _donor(self, rank: int) -> str | None:
        view = self.job.loop.view
        for heal in view.heals:
            transfer = transfer_of(view, heal)
            ours = heal.is_open and heal.recipient.replica == rank
            if ours and transfer is not None and _is_under_way(transfer):
                return transfer.donor
        return None

    def _pod(self, rank: int) -> Pod:
        pod = self.job.supervisor.pod(MemberId(replica=rank))
        if pod is None:
            raise Hang(f"rank {rank} has no pod")
        return pod


@asynccontextmanager
async def a_bad_hour(folder: Path) -> AsyncIterator[BadHour]:
    """A job that trains; at the end it is stopped, and must have ended like the witness."""
    (healed := folder / "healed").mkdir()
    decisions: list[Decision] = []

    def told(decision: Decision, _: JobView) -> None:
        log.told(decision)
        if isinstance(decision, BeginEpoch):
            decisions.append(decision)

    settings = LocalSettings(
        job=f"kills-{os.getpid()}-{random.randrange(1 << 30):x}",
        command=(sys.executable, str(SCRIPT), "healed", str(healed)),
        policy=Policy(replicas=RANKS, stopped_grace=1, same_step_crashes=1000, max_attempts=20),
        logs=healed / "logs",
        trainer_restarts=1000,
        environment={**os.environ, **QUIET},
    )
    with contextlib.closing(OperatorLog(settings.logs)) as log:
        async with LocalJob(settings, Hooks(told=told, noted=log.noted)) as job:
            hour = BadHour(healed, job, decisions)
            await hour.until(lambda: hour.progress.behind >= 3, "the first steps")
            yield hour
            last = max(hour.progress.step(rank) for rank in range(RANKS)) + 10
            (healed / "stopping").write_text(str(last))
            (healed / "stopping").rename(healed / "stop")
            outcome = await asyncio.wait_for(job.wait(), HANG_SECONDS)
            assert outcome.status == 0, outcome.message
    await _witness(folder / "witness", last)
    first = first_difference(folder, last)
    assert first is None, f"losses differ from step {first} on"
    verdict = compare(folder / "witness", healed, RANKS)
    assert verdict.identical, verdict.different


async def _witness(folder: Path, steps: int) -> None:
    """The same training, plainly, to the same step."""
    folder.mkdir()
    (folder / "stop").write_text(str(steps))
    place = {"WORLD_SIZE": str(RANKS), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [
        await asyncio.create_subprocess_exec(
            sys.executable, str(SCRIPT), "plain", str(folder), env={**os.environ, **QUIET, **place, "RANK": str(rank)}
        )
        for rank in range(RANKS)
    ]
    codes = await asyncio.wait_for(asyncio.gather(*(rank.wait() for rank in ranks)), HANG_SECONDS)
    assert codes == [0] * RANKS


def first_difference(folder: Path, last: int) -> int | None:
    """The first step whose last computed loss is not the witness's, on any rank that lived to tell it."""
    for rank in range(RANKS):
        ours, theirs = (_losses(folder / name / f"progress-{rank}.jsonl") for name in ("healed", "witness"))
        for step in range(1, last + 1):
            if step in ours and ours[step] != theirs[step]:
                return step
    return None


def _losses(file: Path) -> dict[int, float]:
    lines = (json.loads(line) for line in file.read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if line["event"] == "step"}


def _is_under_way(transfer: TransferFacts) -> bool:
    return transfer.state == "receiving" and 0 < transfer.bytes < transfer.total


def _signal(pid: int | None, number: int) -> None:
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
