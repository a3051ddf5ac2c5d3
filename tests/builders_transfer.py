"""Agents' arenas, errands, and the children that carry them out."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

import builders_trust
from checkpointheal import digest, manifest
from checkpointheal.agent.errand import Ended, Errand, ErrandSays, Failed, Meeting, Progress, Secured
from checkpointheal.agent.porter import Arrival, Porter
from checkpointheal.agent.tls import Papers
from checkpointheal.agent.transfers import Transfers
from checkpointheal.arena import Arena
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.layout import Identity
from checkpointheal.contract.peer import TICKET_BYTES
from checkpointheal.contract.seal import Seal
from checkpointheal.contract.trust import Holder
from checkpointheal_operator.gateway.authority import Authority
from checkpointheal_operator.gateway.authority.terms import DAY

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


class SecuredTransfers(Transfers):
    """Those of agents that have certificates."""


AUTHORITY = Authority.begin((), builders_trust.NOW - 9 * DAY)
GIVER, TAKER = builders_trust.a_holder(0), builders_trust.a_holder(2)
HOST = "127.0.0.1"


def papers(holder: Holder, now: float = builders_trust.NOW, authority: Authority = AUTHORITY) -> Papers:
    """A certificate given at `now`."""
    return builders_trust.credentials(authority, holder, now).papers


class Stage:
    """Runs both sides of a transfer in children, as two agents do; over TLS where the transfers are secured ones.

    `giver` and `taker` are what the sides show; `host` is where the donor's door is.
    """

    def __init__(
        self, transfers: Transfers, giver: Papers | None = None, taker: Papers | None = None, host: str = HOST
    ) -> None:
        self._transfers, self._host = transfers, host
        self._secured = isinstance(transfers, SecuredTransfers)
        if self._secured:
            self._shown = {"donor": giver or papers(GIVER), "recipient": taker or papers(TAKER)}
        self.tasks: list[asyncio.Task[None]] = []
        self._arrival: Arrival | None = None

    def _secure(self, errand: Errand) -> Errand:
        if not self._secured or errand.secured is not None:
            return errand
        peer = TAKER if errand.side == "donor" else GIVER
        shown = self._shown[errand.side]
        return errand.model_copy(
            update={"secured": Secured(papers=shown, peer_uid=peer.pod_uid, ticket="00" * TICKET_BYTES)}
        )

    @contextlib.asynccontextmanager
    async def _door(self) -> AsyncIterator[Porter]:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        with socket.socket(family) as bound:
            bound.bind((self._host, 0))
            self.port = bound.getsockname()[1]
            porter = Porter(bound, asyncio.Protocol, lambda _transport: None)
            porter.admit(self._shown["donor"].server())
            yield porter
            await porter.close()

    async def start(self, errand: Errand, on_word: Callable[[Side, ErrandSays], None] | None = None) -> Side:
        """Start a child; returns once it has said its first word, or ended."""
        errand = self._secure(errand)
        arrival = self._arrival if errand.side == "donor" else None
        side, spoke = Side(errand), asyncio.Event()

        async def follow() -> None:
            before = set(self._transfers._children)
            async for word in self._transfers.run(errand, arrival):
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
        if not self._secured:
            return await self._meet(giving, taking, on_donor, on_recipient)
        async with self._door() as porter:
            self._arrival = porter.expect()
            secured = self._secure(taking).secured
            assert secured is not None
            shown = secured.model_copy(update={"ticket": self._arrival.ticket})
            going = taking.model_copy(update={"secured": shown, "host": self._host})
            return await self._meet(giving, going, on_donor, on_recipient)

    async def _meet(
        self,
        giving: Errand,
        taking: Errand,
        on_donor: Callable[[Side, ErrandSays], None] | None,
        on_recipient: Callable[[Side, ErrandSays], None] | None,
    ) -> tuple[Side, Side]:
        donor = await self.start(giving, on_donor)
        met = donor.said[0]
        if not isinstance(met, Meeting):
            return donor, Side(taking)
        port = self.port if self._secured else met.store_port
        recipient = await self.start(taking.model_copy(update={"store_port": port}), on_recipient)
        await self.join()
        return donor, recipient

    async def join(self) -> None:
        """Until every child has ended."""
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.gather(*self.tasks), 90)
