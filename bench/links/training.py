"""By how much does a donor slow the training beside it?

The agents' donor, over TLS and under its cap, gives an arena's slot to a recipient behind a link of twice the cap; a
trainer with one thread computes steps meanwhile, and did so just before. The recipient, elsewhere in life, computes on
this machine too. Must not know what the figures come to.
"""

import resource
import socket
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from bench.channel import papers
from bench.links import figures
from bench.links.crew import SECONDS, Prepare, Told, crew, together
from bench.links.network import Link, address
from bench.table import Row
from checkpointheal import digest, manifest
from checkpointheal.agent import mover
from checkpointheal.agent.errand import Errand, ErrandSays, Failed, Secured
from checkpointheal.agent.tls import Papers
from checkpointheal.arena import Arena
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.layout import Identity
from checkpointheal.contract.peer import PREAMBLE, TICKET_BYTES
from checkpointheal.contract.seal import Seal
from checkpointheal.demo.reference import build, train_step

ROUNDS = 7
RATE = 1600
"""Megabits per second of the donor's link."""
CAP = RATE * 1_000_000 // 8 // 2
STATE_BYTES, STEPS_SECONDS = 272_000_000, 2.5
"""It takes longer than the steps that are counted."""
PORT = 7077
MEMBER = MemberId(replica=0)


def rows() -> list[Row]:
    """Of as many pairs. Raises NoNetwork."""
    steps, processor = [], []
    shown = papers(0), papers(1)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        ends = [_End(rank, Path(folder) / str(rank), shown) for rank in (0, 1)]
        links = [Link(RATE, RATE), Link(RATE, RATE), Link()]
        with crew([ends[0].donor, ends[1].recipient, _trainer], links) as (donor, recipient, trainer):
            for _ in range(ROUNDS):
                before = together({trainer: {}})[1][trainer]["step"]
                given = together({donor: {}})[1][donor]
                answers = together({donor: given, recipient: given, trainer: {}})[1]
                steps.append((answers[trainer]["step"], before))
                processor.append(answers[donor]["processor"])
    return figures.slowed(steps, processor, f"cap at half of a link of {RATE} Mbit/s")


class _End(NamedTuple):
    """The donor or the recipient, as its agent would run it."""

    rank: int
    arena: Path
    shown: tuple[Papers, Papers]

    def donor(self) -> Prepare:
        """Told nothing it seals another generation, told which one it gives it."""
        listener = socket.create_server((address(0), PORT))
        state = torch.randint(0, 256, (STATE_BYTES,), dtype=torch.uint8)

        def prepare(told: Told) -> Callable[[], Told]:
            return (lambda: self._give(told, listener)) if told else (lambda: self._seal(state.add_(1)))

        return prepare

    def recipient(self) -> Prepare:
        """Takes the generation that it is told."""
        return lambda told: lambda: self._take(told)

    def _seal(self, state: torch.Tensor) -> Told:
        described = manifest.describe({"state": state})
        arena = Arena.create(self.arena)
        arena.reserve(Arena.slot_bytes(described.schema))
        writing = arena.begin()
        if writing is None:
            raise RuntimeError("no slot of the donor's arena is free")
        data = writing.prepare(described.schema)
        manifest.write_out(described, data)
        schema = digest.schema_digest(described.schema)
        step = 1 + max((seal.step for seal in arena.seals().values()), default=0)
        writing.seal(
            Seal(
                job="bench",
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
        whole = digest.state_digest(schema, described.values, digest.chunk_digests(data))
        identity = Identity(step=step, schema_digest=schema, state_digest=whole)
        return {"slot": writing.slot, "identity": identity.model_dump(mode="json")}

    def _give(self, told: Told, listener: socket.socket) -> Told:
        def arrived(_seconds: float) -> socket.socket:
            guest, _ = listener.accept()
            guest.recv(len(PREAMBLE) + TICKET_BYTES, socket.MSG_WAITALL)
            return guest

        began, spent = time.monotonic(), _processor()
        mover.run(self._errand(told), _require_going, arrived)
        return {"processor": (_processor() - spent) / (time.monotonic() - began)}

    def _take(self, told: Told) -> Told:
        mover.run(self._errand(told), _require_going, _nobody)
        return {}

    def _errand(self, told: Told) -> Errand:
        secured = Secured(papers=self.shown[self.rank], peer_uid=f"uid-{1 - self.rank}", ticket="00" * TICKET_BYTES)
        return Errand(
            side="donor" if self.rank == 0 else "recipient",
            arena=self.arena,
            job="bench",
            member=MEMBER,
            heal="bench",
            attempt=1,
            epoch=1,
            identity=Identity.model_validate(told["identity"]),
            host=address(0),
            store_port=PORT,
            prefix="bench/1",
            slot=told["slot"],
            deadline=SECONDS,
            bytes_per_second=CAP,
            secured=secured,
        )


def _trainer() -> Prepare:
    options = Namespace(steps=1000, layers=10, width=384, heads=6, batch=1, length=64)
    parts = build(options, rank=0)
    for _ in range(3):
        train_step(*parts)

    def train() -> Told:
        began, steps = time.monotonic(), 0
        while (passed := time.monotonic() - began) < STEPS_SECONDS:
            train_step(*parts)
            steps += 1
        return {"step": passed / steps}

    return lambda _told: train


def _require_going(said: ErrandSays) -> None:
    if isinstance(said, Failed):
        raise RuntimeError(f"{said.reason}: {said.message}")


def _nobody(_seconds: float) -> socket.socket:
    raise RuntimeError("nobody comes to a recipient")


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
