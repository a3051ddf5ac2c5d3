"""The life of one pod: an agent and a trainer under `checkpointheal run`, started again as the kubelet would.

It speaks with the pod's keeper and follows `restarts`; the system calls are the keeper's. Must not know the operator,
the other pods, or what a trainer does.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from checkpointheal.contract.process import WARM
from checkpointheal_operator.local import keeper
from checkpointheal_operator.local.places import Claim, Site, environment, tether
from checkpointheal_operator.local.restarts import Limits, NoMore, after_failure

AGENT_RESTARTS = Limits(restarts=1_000_000, backoff=0.2, ceiling=5.0, window=60.0)
"""A sidecar is started again for ever."""
KEEPER_GRACE = 15.0
"""Longer than the keeper itself waits for what cannot be killed."""
LINE_LIMIT = 1 << 16


@dataclass(frozen=True)
class Finished:
    """The trainer ran to its end in success."""


@dataclass(frozen=True)
class GaveUp:
    """It failed as often as it may; its last exit status."""

    status: int


@dataclass(frozen=True)
class Gone:
    """It was deleted, by whomever, or told to leave; nothing of it is left."""


End = Finished | GaveUp | Gone


class Pod:
    """One pod. `run()` once; the rest from anywhere in the same event loop."""

    def __init__(self, site: Site, claim: Claim, clock: Callable[[], float], told: Callable[[str], None]) -> None:
        self.claim, self.born = claim, clock()
        self.finished, self.terminating = False, False
        self._site, self._clock, self._told = site, clock, told
        self._limits = {"agent": AGENT_RESTARTS, "run": site.settings.pod_restarts}
        self._pids: dict[str, int] = {}
        self._failures: dict[str, tuple[float, ...]] = {"agent": (), "run": ()}
        self._again: dict[str, asyncio.TimerHandle] = {}
        self._opening = asyncio.Lock()
        self._keeper: Process | None = None

    @property
    def arena(self) -> Path:
        """Its memory."""
        return self._site.arena(self.claim.uid)

    @property
    def keeper_pid(self) -> int | None:
        """The process whose end is the pod's end."""
        return self._keeper.pid if self._keeper else None

    @property
    def agent_pid(self) -> int | None:
        """The agent; None between two starts of it."""
        return self._pids.get("agent")

    @property
    def trainer_pid(self) -> int | None:
        """The trainer in its first seat; None between two starts of it."""
        return self.trainer(0)

    def trainer(self, local_rank: int) -> int | None:
        """The trainer that `run` started in that seat; None between two starts of it."""
        run = self._pids.get("run")
        if run is None:
            return None
        if self.claim.seats.count == 1:
            return next(_trainers(keeper.children(run)), None)
        own = (pid for pid in keeper.below(run) if keeper.carries(pid, f"LOCAL_RANK={local_rank}"))
        return next((pid for pid in own if _is_trainer(pid)), None)

    async def run(self) -> End:
        """Start everything and keep it going, until it has finished, failed too often, or is gone.

        Whatever the end, and when cancelled too, no process and no memory of it is left.
        """
        try:
            async with self._opening:
                if self.terminating:  # deleted before it began
                    return Gone()
                self._keeper = await self._open()
            self._told(f"{self.claim.name}: pod {self.claim.uid} starts; `kill {self._keeper.pid}` deletes it")
            self._start("agent")
            self._start("run")
            return await self._live(self._keeper)
        finally:
            await self.delete()

    async def delete(self) -> None:
        """Kill every process of the pod at once and remove its arena. Nothing where that has been done."""
        self.terminating = not self.finished
        self._forget_starts()
        async with self._opening:
            if self._keeper is not None:
                await _end(self._keeper)
        await asyncio.to_thread(keeper.kill_marked, self.claim.uid)
        shutil.rmtree(self.arena, ignore_errors=True)

    def leave(self) -> None:
        """Ask the trainer to end, as the kubelet does before it kills; nothing is started again."""
        self.terminating = True
        pausing = "run" in self._again
        self._forget_starts()
        if pausing and self._keeper is not None and self._keeper.stdin is not None:
            self._keeper.stdin.close()  # there is nobody to ask
        self._command(do="signal", name="run", number=signal.SIGTERM)

    async def _open(self) -> Process:
        self.arena.mkdir(mode=0o700)
        with self._log("agent").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", keeper.__file__, tether(), str(self.arena)),
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                limit=LINE_LIMIT,
                start_new_session=True,  # a Ctrl-C at the terminal is for the supervisor alone
            )

    async def _live(self, kept: Process) -> End:
        if kept.stdout is None:
            raise RuntimeError("a keeper is opened with a pipe")
        while line := await kept.stdout.readline():
            said = json.loads(line)
            if "pid" in said:
                self._pids[said["name"]] = said["pid"]
                continue
            self._pids.pop(said["name"], None)
            if (end := self._take_end(said["name"], said["status"], killed=said["killed"])) is not None:
                return end
        return Gone()

    def _take_end(self, name: str, status: int, *, killed: bool) -> End | None:
        """`run` itself starts its trainer again, as often as the user said; it is started again where it was killed."""
        if self.terminating:
            return Gone() if name == "run" else None
        if name == "run" and status == 0:
            self.finished = True
            return Finished()
        after = after_failure(self._clock(), self._failures[name], self._limits[name])
        if isinstance(after, NoMore) or (name == "run" and not killed):
            return GaveUp(status)
        self._failures[name] = after.failures
        self._told(f"{self.claim.name}: {name} ended with status {status}; it starts again in {after.pause:g} s")
        self._again[name] = asyncio.get_running_loop().call_later(after.pause, self._start, name)
        return None

    def _forget_starts(self) -> None:
        for timer in self._again.values():
            timer.cancel()
        self._again.clear()

    def _start(self, name: str) -> None:
        self._again.pop(name, None)
        self._command(
            do="start",
            name=name,
            command=self._site.command(name),
            environment=environment(self._site, self.claim, name),
            log=str(self._log(name)),
        )

    def _log(self, name: str) -> Path:
        """Where it writes: the folder of the logs may be gone meanwhile, or full, and it trains on without."""
        log = self._site.log(self.claim.name, name)
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            log.open("ab").close()
        except OSError as error:
            self._told(f"{log} cannot be written ({error.strerror}): what its {name} says is lost")
            return Path(os.devnull)
        return log

    def _command(self, **said: object) -> None:
        if self._keeper is not None and self._keeper.stdin is not None and not self._keeper.stdin.is_closing():
            self._keeper.stdin.write(json.dumps(said).encode() + b"\n")


async def _end(kept: Process) -> None:
    """Let go of the keeper, which ends everything below it; one that cannot is ended from outside."""
    if kept.stdin is not None:
        kept.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KEEPER_GRACE):
            await kept.wait()
        return
    await asyncio.to_thread(keeper.kill_below, kept.pid)
    kept.kill()
    await kept.wait()


def _trainers(pids: list[int]) -> Iterator[int]:
    """Children of `run` that lead a group."""
    for pid in pids:
        with contextlib.suppress(OSError):
            if os.getpgid(pid) == pid and _is_trainer(pid):
                yield pid


def _is_trainer(pid: int) -> bool:
    """Not one that only waits to be forked from, or that is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() != WARM
    except OSError:
        return False
