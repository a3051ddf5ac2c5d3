"""One example that trains, and what is done to it. Must not know what counts as well ended, nor where it trains."""

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from builders_adapters import Seen
from builders_bad_hour import Hang, updates_since
from checkpointheal_operator.core.phases import SeenHeal, phases
from checkpointheal_operator.demo.progress import Progress
from harmed.blows import Blow
from harmed.stacks import Stack
from harmed.verdict import Suffered, Told

UPDATES_BETWEEN = 2
PATIENCE = 600.0
"""Seconds after which a job hangs: torchrun's own deadlines, one after the other, on a busy machine."""


class Place(Protocol):
    """A job that trains, and how it is hit there. What its ranks write comes to lie in `folder`."""

    folder: Path
    progress: Progress

    async def until(self, done: Callable[[], object], what: str) -> None:
        """Look until it is so. Raises Hang that says what never came."""

    async def arm(self, rank: int, point: str) -> None:
        """Have its process kill itself when it passes the point."""

    def is_armed(self, rank: int) -> bool:
        """Whether that is still to come, by what was last seen."""

    async def await_process(self, rank: int) -> None:
        """Until it has one that can be killed."""

    async def kill(self, rank: int) -> None:
        """Its process, by its last word, if it lives."""

    async def delete_pod(self, rank: int) -> None:
        """With its memory and its agent."""

    async def hurry(self) -> None:
        """Nothing more will be done to it."""

    async def ended(self) -> str:
        """Wait until it is over. Empty where every member finished; else why not."""

    def heals(self) -> Sequence[SeenHeal]:
        """All that there were."""

    def wrong_fallbacks(self) -> Sequence[str]:
        """Each time that it went back though memory had the step, as a sentence."""


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
        self._stack, self._folder = stack, folder
        self.harms: list[Harm] = []
        self.message = ""
        self._wrong_fallbacks: Sequence[str] = ()

    async def through(self, place: Place, blows: Sequence[Blow]) -> None:
        """From its first updates to its end, whatever that is."""
        self.message = await self._through(place, blows)
        self.account(place.progress, place.heals())
        self._wrong_fallbacks = place.wrong_fallbacks()

    def suffered(self, planned: int) -> Suffered:
        """What was seen, for the verdict."""
        ranks = range(self._stack.world)
        said = [list(lines(self._folder, rank)) for rank in ranks]
        return Suffered(
            planned=planned,
            hits=[sum(each.blow.rank == rank for each in self.harms) for rank in ranks],
            message=self.message,
            wrong_fallbacks=self._wrong_fallbacks,
            told=[[Told(each["life"], each.get("step")) for each in of_rank] for of_rank in said],
        )

    def account(self, progress: Progress, heals: Sequence[SeenHeal]) -> None:
        """What each blow cost."""
        progress.look()
        for number, harm in enumerate(self.harms):
            if not any(each.blow.amid for each in self.harms[number + 1 : number + 2]):
                reached = progress.reached(harm.step + 1, harm.at)
                harm.past = reached - harm.at if reached else None
            member = self._stack.member(harm.blow.rank)
            mine = (each for each in heals if each.heal.recipient == member and each.heal.opened_at >= harm.at)
            if (seen := next((each for each in mine if each.heal.healed), None)) is not None:
                harm.rung, harm.phases = str(seen.heal.rung), phases(seen, harm.at)

    async def _through(self, place: Place, blows: Sequence[Blow]) -> str:
        ended, hitting = asyncio.ensure_future(place.ended()), asyncio.ensure_future(self._hit(place, blows))
        try:
            await asyncio.wait({ended, hitting}, return_when=asyncio.FIRST_COMPLETED)
            if hitting.done():
                hitting.result()
            await place.hurry()
            return await asyncio.wait_for(ended, PATIENCE)
        except (Hang, TimeoutError) as error:
            return f"it hangs: {error or 'it does not end'}"
        finally:
            ended.cancel()
            hitting.cancel()

    async def _hit(self, place: Place, blows: Sequence[Blow]) -> None:
        for blow in blows:
            if not blow.amid:
                await self._trains_on(place)
            await asyncio.sleep(blow.wait)
            await self._strike(place, blow)
        await self._trains_on(place)

    async def _trains_on(self, place: Place) -> None:
        """With anyone missing, nobody gets further than one update."""
        now, ranks = time.time(), range(self._stack.world)
        await place.until(
            lambda: min(updates_since(place.progress, rank, now) for rank in ranks) >= UPDATES_BETWEEN,
            f"{UPDATES_BETWEEN} more updates on every rank",
        )

    async def _strike(self, place: Place, blow: Blow) -> None:
        rank = blow.rank
        if blow.point:
            await place.arm(rank, blow.point)
            await place.until(lambda: not place.is_armed(rank), f"the point {blow.point} on rank {rank}")
        elif not blow.pod:
            await place.await_process(rank)
        place.progress.look()
        step = max(place.progress.step(each) for each in range(self._stack.world))
        self.harms.append(Harm(blow, time.time(), step))
        if blow.pod:
            await place.delete_pod(rank)
        elif not blow.point:
            await place.kill(rank)


def lines(folder: Path, rank: int) -> Iterator[dict[str, Any]]:
    """What it said of itself; the last one may be in the writing."""
    file = folder / f"progress-{rank}.jsonl"
    for line in file.read_text().splitlines(keepends=True) if file.exists() else ():
        if line.endswith("\n"):
            yield json.loads(line)


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
