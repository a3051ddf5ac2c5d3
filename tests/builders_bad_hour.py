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
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import TransferFacts
from checkpointheal_operator.core.decisions import BeginEpoch, Decision, EndEpoch
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.status import transfer_of
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.demo.progress import Progress
from checkpointheal_operator.demo.proof import compare
from checkpointheal_operator.local.job import Hooks, LocalJob, _spawn
from checkpointheal_operator.local.places import free_port
from checkpointheal_operator.local.pods import Pod
from checkpointheal_operator.local.screen import OperatorLog
from checkpointheal_operator.local.settings import LocalSettings

RANKS = 3
SCRIPT = Path(__file__).parent / "kills" / "faulty_trainer.py"
HANG_SECONDS = 240.0
"""Longer than all deadlines of a heal together: what takes longer hangs."""
LOOK_EVERY = 0.02
HANDED_OVER_SECONDS = 2.0
"""Longer than a commit waits for a buddy to have a private part."""
DEAF_SECONDS = 30.0
"""Longer than an agent that was hit does not move, and than it takes to move again."""
SLOW_BYTES_PER_SECOND = 8 << 20
QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}


def updates_since(progress: Progress, rank: int, at: float) -> int:
    """How many updates the rank has computed since a moment."""
    return sum(line.event == "step" and line.at >= at for line in progress.lines[rank])


def last_update(progress: Progress, rank: int) -> float:
    """When the rank last completed an update; 0 before the first."""
    return max((line.at for line in progress.lines[rank] if line.event == "step"), default=0.0)


class Hang(AssertionError):
    """A case that never came back to training."""


class BentClock:
    """The operator's: it may be wrong, and come to be right again."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class BadHour:
    """One job under attack."""

    job: LocalJob

    def __init__(
        self,
        folder: Path,
        replicas: int = RANKS,
        ranks: int = 1,
        patience: float = HANG_SECONDS,
        local_ranks: int = 1,
    ) -> None:
        self.folder, self.world, self._patience = folder, replicas * ranks, patience
        self._ranks, self._local_ranks = ranks, local_ranks
        self.clock = BentClock()
        self.progress = Progress(folder, self.world)
        self.begun: list[BeginEpoch] = []
        self.ended: list[EndEpoch] = []
        self.wrong_fallbacks: list[str] = []
        self._forgotten: list[tuple[float, int, bool]] = []
        self._deaf: list[tuple[float, float, int]] = []

    async def until(self, done: Callable[[], object], what: str) -> None:
        """Look until `done()`. Raises Hang that says what never came."""
        deadline = time.monotonic() + self._patience
        while not done():
            if time.monotonic() > deadline:
                raise Hang(f"{what} never came: {self.job.loop.view.epoch.message}")
            self.progress.look()
            await asyncio.sleep(LOOK_EVERY)

    async def trains_on(self, updates: int = 3) -> None:
        """Every rank computes this many updates from now on: with anyone missing, nobody gets further than one."""
        now = time.time()
        await self.until(
            lambda: min(updates_since(self.progress, rank, now) for rank in range(self.world)) >= updates,
            f"{updates} more updates on every rank",
        )

    def told(self, decision: Decision) -> None:
        """Judge each epoch that begins without a restore step, as soon as it does."""
        if isinstance(decision, EndEpoch):
            self.ended.append(decision)
        if not isinstance(decision, BeginEpoch):
            return
        if self.begun and decision.order.step is None and not self._may_be_lost():
            self.wrong_fallbacks.append(f"epoch {decision.order.epoch}: {decision.message}")
        self.begun.append(decision)

    def _may_be_lost(self) -> bool:
        """Whether some member's private part may have been nowhere: its pod was deleted, and all others forgot it.

        What was forgotten before every rank completed a step again has been handed over anew. Nobody else ever had it
        where its own agent did not move while its trainer went on: who hands it over is the agent.
        """
        self.progress.look()
        since = min(last_update(self.progress, rank) for rank in range(self.world)) - HANDED_OVER_SECONDS
        pods = {rank for at, rank, whole in self._forgotten if whole and at >= since}
        agents = {rank for at, rank, _ in self._forgotten if at >= since}
        deaf = {
            each for at, rank, whole in self._forgotten if whole and at >= since for each in self._deaf_at(at, rank)
        }
        return bool(pods & deaf) or any(agents >= set(range(self.world)) - {rank} for rank in pods)

    def _deaf_at(self, at: float, rank: int) -> set[int]:
        """The rank, if its agent may not have handed over what was new then."""
        return {each for began, ended, each in self._deaf if each == rank and began <= at <= ended}

    def arm(self, rank: int, point: str, number: int) -> None:
        """Have the rank hit itself with this signal when it passes the point."""
        waiting = self.folder / f"arming-{rank}.json"
        waiting.write_text(json.dumps({"point": point, "signal": number}))
        waiting.rename(self.folder / f"armed-{rank}.json")

    def make_sick(self, rank: int) -> None:
        """The rank's trainer changes a weight, once, before it next commits."""
        (self.folder / f"sick-{rank}").touch()

    def is_sick(self, rank: int) -> bool:
        """Whether that is still to come."""
        return (self.folder / f"sick-{rank}").exists()

    def is_armed(self, rank: int) -> bool:
        return (self.folder / f"armed-{rank}.json").exists()

    def hit_trainer(self, rank: int, number: int = signal.SIGKILL) -> None:
        """Signal the rank's trainer, if it has one now."""
        _signal(self._pod(rank).trainer(rank % self._local_ranks), number)

    def hit_agent(self, rank: int, number: int = signal.SIGKILL) -> None:
        """Signal the rank's agent, if it has one now. A killed one forgets what it kept for others."""
        if number == signal.SIGKILL:
            self._forgotten.append((time.time(), rank, False))
        self._deaf.append((time.time(), time.time() + DEAF_SECONDS, rank))
        _signal(self._pod(rank).agent_pid, number)

    async def delete_pod(self, rank: int) -> None:
        """Its arena goes too, and what its agent kept for others; in all its seats."""
        first = rank - rank % self._local_ranks
        self._forgotten += [(time.time(), each, True) for each in range(first, first + self._local_ranks)]
        await self.job.supervisor.delete(self._member(rank))

    async def change_operator(self, seconds: float) -> None:
        """It is killed, and after a while another one comes that has its records and has heard nobody."""
        job, loop = self.job, self.job.loop
        job._operating.cancel()
        await asyncio.wait({job._operating})
        await asyncio.sleep(seconds)
        loop.hub.keep_only(())
        loop.hub.order({})
        loop._view = loop._view.model_copy(update={"leader_since": self.clock(), "heard": ()})
        job._operating = _spawn(job._stack, loop.run())

    async def transfer_to(self, rank: int) -> str:
        """Wait until bytes are on their way to the rank, and not all of them have come; the donor's pod."""
        await self.until(lambda: self._donor(rank), f"a transfer to rank {rank}")
        return self._donor(rank) or ""

    def _donor(self, rank: int) -> str | None:
        view = self.job.loop.view
        for heal in view.heals:
            transfer = transfer_of(view, heal)
            ours = heal.is_open and heal.recipient == self._member(rank)
            if ours and transfer is not None and _is_under_way(transfer):
                return transfer.donor
        return None

    def _member(self, rank: int) -> MemberId:
        return MemberId(replica=rank // self._ranks, rank=rank % self._ranks)

    def _pod(self, rank: int) -> Pod:
        pod = self.job.supervisor.pod(self._member(rank))
        if pod is None:
            raise Hang(f"rank {rank} has no pod")
        return pod


@asynccontextmanager
async def a_bad_hour(
    folder: Path, script: Path = SCRIPT, replicas: int = RANKS, ranks: int = 1, slots: int = 2, local_ranks: int = 1
) -> AsyncIterator[BadHour]:
    """A job that trains; at the end it is stopped, and must have ended like the witness."""
    policy = Policy(replicas=replicas, ranks=ranks, stopped_grace=1, same_step_crashes=1000, max_attempts=20)
    async with an_hour(folder, script, policy, slots, local_ranks) as hour:
        yield hour
    last = int((hour.folder / "stop").read_text())
    await _witness(folder / "witness", last, script, hour.world)
    first = first_difference(folder, last, hour.world)
    assert first is None, f"losses differ from step {first} on"
    assert hour.wrong_fallbacks == []
    verdict = compare(folder / "witness", hour.folder, hour.world)
    assert verdict.identical, verdict.different


@asynccontextmanager
async def an_hour(
    folder: Path, script: Path, policy: Policy, slots: int = 2, local_ranks: int = 1
) -> AsyncIterator[BadHour]:
    """A job that trains; at the end it is stopped, and must have ended without an error. Its last step is in `stop`."""
    (healed := folder / "healed").mkdir()
    hour = BadHour(healed, policy.replicas, policy.ranks, local_ranks=local_ranks)

    def told(decision: Decision, _: JobView) -> None:
        log.told(decision)
        hour.told(decision)

    settings = LocalSettings(
        job=f"kills-{os.getpid()}-{random.randrange(1 << 30):x}",
        command=(sys.executable, str(script), "healed", str(healed)),
        policy=policy,
        local_ranks=local_ranks,
        logs=healed / "logs",
        slots=slots,
        trainer_restarts=1000,
        environment={**os.environ, **QUIET},
    )
    with contextlib.closing(OperatorLog(settings.logs)) as log:
        async with LocalJob(settings, Hooks(told=told, noted=log.noted), hour.clock) as job:
            hour.job = job
            await hour.until(lambda: hour.progress.behind >= 3, "the first steps")
            yield hour
            last = max(hour.progress.step(rank) for rank in range(hour.world)) + 10
            (healed / "stopping").write_text(str(last))
            (healed / "stopping").rename(healed / "stop")
            outcome = await asyncio.wait_for(job.wait(), HANG_SECONDS)
            assert outcome.status == 0, outcome.message


async def _witness(folder: Path, steps: int, script: Path, world: int) -> None:
    """The same training, plainly, to the same step."""
    folder.mkdir()
    (folder / "stop").write_text(str(steps))
    place = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [
        await asyncio.create_subprocess_exec(
            sys.executable, str(script), "plain", str(folder), env={**os.environ, **QUIET, **place, "RANK": str(rank)}
        )
        for rank in range(world)
    ]
    codes = await asyncio.wait_for(asyncio.gather(*(rank.wait() for rank in ranks)), HANG_SECONDS)
    assert codes == [0] * world


def first_difference(folder: Path, last: int, world: int = RANKS) -> int | None:
    """The first step whose last computed loss is not the witness's, on any rank that lived to tell it."""
    for rank in range(world):
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
