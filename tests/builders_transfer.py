"""Agents' arenas, errands, and the children that carry them out."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from checkpointheal import digest, manifest
from checkpointheal.agent.errand import Ended, Errand, ErrandSays, Failed, Meeting, Progress
from checkpointheal.agent.transfers import Transfers
from checkpointheal.arena import Arena
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.layout import Identity
from checkpointheal.contract.seal import Seal

STEP = 7
MEMBER = MemberId(replica=0)
CHUNK = digest.CHUNK_BYTES


def a_state(mebibytes: int, seed: int = 0) -> dict[str, object]:
    """Tensors of 1 MiB each, a tie, and plain values."""
    generator = torch.Generator().manual_seed(seed)
    weights = {f"w{i}": torch.randn(1 << 18, generator=generator) for i in range(mebibytes)}
    return {"model": {**weights, "tied": weights["w0"]}, "lr": 0.1, "step": STEP}


def put(directory: Path, state: dict[str, object], step: int = STEP) -> tuple[Identity, int]:
    """Seal it in an arena as a trainer would; what it is, and in which slot it lies."""
    described = manifest.describe(state)
    arena = Arena.create(directory)
    arena.reserve(Arena.slot_bytes(described.schema))
    writing = arena.begin()
    assert writing is not None
    data = writing.prepare(described.schema)
    manifest.write_out(described, data)
    schema = digest.schema_digest(described.schema)
    writing.seal(
        Seal(
            job="job",
            member=MEMBER,
            incarnation="first",
            epoch=1,
            step=step,
            schema_digest=schema,
            header_bytes=writing.header_bytes,
            data_bytes=described.schema.data_bytes,
            values=described.values,
        )
    )
    chunks = digest.chunk_digests(data)
    state_digest = digest.state_digest(schema, described.values, chunks)
    return Identity(step=step, schema_digest=schema, state_digest=state_digest), writing.slot


def data_of(directory: Path, slot: int) -> bytes:
    """The data section of a sealed slot."""
    with Arena.open(directory).read(slot) as reading:
        return bytes(reading.data)


def an_errand(side: str, arena: Path, identity: Identity, **changes: object) -> Errand:
    """One side of the transfer of `heal` attempt 1."""
    errand = Errand(
        side=side,  # type: ignore[arg-type]
        arena=arena,
        job="job",
        member=MEMBER,
        heal="heal",
        attempt=1,
        epoch=3,
        identity=identity,
        host="127.0.0.1",
        prefix="heal/1",
        deadline=60,
        stall=5,
    )
    return errand.model_copy(update=changes)


@dataclass
class Side:
    """What one child said, and when its last word came."""

    errand: Errand
    said: list[ErrandSays] = field(default_factory=list)
    pid: int = 0
    ended_at: float = 0

    @property
    def last(self) -> ErrandSays:
        return self.said[-1]

    @property
    def outcome(self) -> str:
        return self.last.reason if isinstance(self.last, Failed) else self.last.say

    @property
    def crossed(self) -> int:
        return max((word.bytes for word in self.said if isinstance(word, Progress | Ended)), default=0)


class Stage:
    """Runs both sides of a transfer in children, as two agents do."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, errand: Errand, on_word: Callable[[Side, ErrandSays], None] | None = None) -> Side:
        """Start a child; returns once it has said its first word, or ended."""
        side, spoke = Side(errand), asyncio.Event()

        async def follow() -> None:
            before = set(self._transfers._children)
            async for word in self._transfers.run(errand):
                new = self._transfers._children - before
                if not side.pid and len(new) == 1:
                    side.pid = next(iter(new)).pid or 0
                side.said.append(word)
                if on_word:
                    on_word(side, word)
                spoke.set()
            side.ended_at = time.monotonic()
            spoke.set()

        self.tasks.append(asyncio.create_task(follow()))
        await spoke.wait()
        return side

    async def meet(
        self,
        giving: Errand,
        taking: Errand,
        on_donor: Callable[[Side, ErrandSays], None] | None = None,
        on_recipient: Callable[[Side, ErrandSays], None] | None = None,
    ) -> tuple[Side, Side]:
        """Both sides, to their end."""
        donor = await self.start(giving, on_donor)
        met = donor.said[0]
        if not isinstance(met, Meeting):
            return donor, Side(taking)
        recipient = await self.start(taking.model_copy(update={"store_port": met.store_port}), on_recipient)
        await self.join()
        return donor, recipient

    async def join(self) -> None:
        """Until every child has ended."""
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.gather(*self.tasks), 90)
