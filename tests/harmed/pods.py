"""A job of pods on a kind cluster, to be harmed. What its ranks write lies on the nodes, and is fetched from there.

Must not know which blows there are.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

from bad_cluster import not_healed
from builders_bad_hour import Hang
from builders_cluster import Refused, apply, in_one_pod, once, side_by_side, until
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.api.heal_record import heal_record
from checkpointheal_operator.core.phases import SeenHeal
from checkpointheal_operator.demo.progress import Progress
from harmed.ordeal import PATIENCE, lines
from harmed.stacks import Stack
from harmed.witnessed import THERE, WatchedJob, Written, a_job, namespace
from on_nodes import AGENT


@contextlib.asynccontextmanager
async def pods(stack: Stack, folder: Path, words: Mapping[str, str]) -> AsyncIterator["Pods"]:
    """The job in a namespace of its own, which goes with it; what its pods said stays."""
    with namespace("job") as written:
        job = await asyncio.to_thread(a_job(written.namespace, stack, words).start)
        try:
            yield Pods(job, written, folder)
        finally:
            for rank in range(stack.world):
                for container in ("trainer", AGENT):
                    (folder / f"{container}-{rank}.log").write_text(job.log(rank, container))


def plain(stack: Stack, folder: Path, words: Mapping[str, str]) -> None:
    """The same without any of ours, undisturbed: its ranks in one pod."""
    folder.mkdir()
    with namespace("plain") as written:
        job = a_job(written.namespace, stack, words)
        shell, told = side_by_side(f"python {job.program}", stack.world), {"PLAIN": "yes", "WITNESS": THERE, **words}
        container = in_one_pod(shell, stack.world, told) | {"volumeMounts": job.mounts}
        apply(written.namespace, job.script())
        once(written.namespace, "plain", container, job.volumes("plain"), PATIENCE)
        written.fetch(folder)


class Pods:
    """A Place, on kind."""

    def __init__(self, job: WatchedJob, written: Written, folder: Path) -> None:
        self._job, self._written, self.folder = job, written, folder
        self._armed: dict[int, int] = {}
        self.progress = Progress(folder, job.replicas)
        self._looking = asyncio.Lock()

    async def until(self, done: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not await asyncio.to_thread(done):
            if time.monotonic() > deadline:
                raise Hang(f"{what} never came: {self._job.policy_status().get('epoch', {})}")
            await self._look()

    async def arm(self, rank: int, point: str) -> None:
        """A file is written beside its own."""
        self._armed[rank] = self._struck(rank)
        said = json.dumps({"point": point, "signal": 9})
        file = f"{THERE}/armed-{rank}.json"
        await self._soon(rank, "sh", "-c", f"echo '{said}' > {file}.new && mv {file}.new {file}")

    def is_armed(self, rank: int) -> bool:
        return self._struck(rank) <= self._armed[rank]

    async def await_process(self, rank: int) -> None:
        await self.until(lambda: self._process(rank), f"a process of rank {rank}")

    async def kill(self, rank: int) -> None:
        if pid := await asyncio.to_thread(self._process, rank):
            await asyncio.to_thread(self._job.run, rank, "kill", "-9", pid)

    async def delete_pod(self, rank: int) -> None:
        await asyncio.to_thread(self._job.delete_pods, rank)

    async def hurry(self) -> None:
        await asyncio.to_thread(self._written.touch, "hurry")

    async def ended(self) -> str:
        """Trainers stay when they are done: Kubernetes would start them again."""
        ends = [self.folder / f"end-{rank}.json" for rank in range(self._job.replicas)]
        while not all(each.exists() for each in ends):
            await self._look()
        return ""

    def heals(self) -> Sequence[SeenHeal]:
        found = sorted(self._job.heals, key=lambda each: str(each["spec"]["openedAt"]))
        return [SeenHeal(heal_record(Heal.model_validate(each))) for each in found]

    def wrong_fallbacks(self) -> Sequence[str]:
        """No two pods are taken at once: memory has every step."""
        return not_healed(self._job)

    def _process(self, rank: int) -> str | None:
        """By its last word, if it lives: in another pod of the same name another one may have its number."""
        *_, last = lines(self.folder, rank)
        try:
            stat = self._job.run(rank, "cat", f"/proc/{last['pid']}/stat")
        except Refused:
            return None
        return str(last["pid"]) if last["life"].endswith(f" {stat.rpartition(')')[2].split()[19]}") else None

    async def _look(self) -> None:
        async with self._looking:
            await asyncio.to_thread(self._written.fetch, self.folder)
            self.progress.look()
        await asyncio.sleep(0.2)

    async def _soon(self, rank: int, *command: str) -> None:
        await asyncio.to_thread(until, lambda: [self._job.run(rank, *command)], f"rank {rank} can be told", PATIENCE)

    def _struck(self, rank: int) -> int:
        """How often it has passed an armed point, by its own last words."""
        return sum(each["event"] == "struck" for each in lines(self.folder, rank))
