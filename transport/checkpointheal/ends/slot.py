"""How is an arena's slot given, and how is one filled?

Zero copies: chunks leave from and land in the mapped slot itself. Must not know the channel.
"""

from collections.abc import Sequence

import torch

from checkpointheal import digest
from checkpointheal.arena import Arena, Reading, Writing
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.layout import Identity, Manifest
from checkpointheal.contract.seal import Seal
from checkpointheal.ends.section import Section
from checkpointheal.errors import ArenaDoesNotFit, Misuse, SlotDamaged
from checkpointheal.manifest.check import check
from checkpointheal.manifest.rebuild import as_bytes
from checkpointheal.wire import Offer


class SlotSource:
    """A sealed generation, pinned by its reading."""

    def __init__(self, reading: Reading, chunk_bytes: int = digest.CHUNK_BYTES) -> None:
        self._reading, self._chunk_bytes = reading, chunk_bytes
        self._section = Section(as_bytes(reading.data), reading.schema, chunk_bytes)

    @property
    def manifest(self) -> Manifest:
        """Schema of the slot, values of its seal."""
        return Manifest(schema=self._reading.schema, values=self._reading.seal.values)

    def digests(self, identity: Identity) -> tuple[str, ...]:
        """One per chunk, read now. Raises SlotDamaged where they do not make the state of this identity."""
        chunks = digest.chunk_digests(self._reading.data, self._chunk_bytes)
        found = digest.state_digest(self._reading.seal.schema_digest, self._reading.seal.values, chunks)
        if found != identity.state_digest:
            raise SlotDamaged(
                f"slot {self._reading.slot} holds state {found[:8]}, granted is {identity.state_digest[:8]}: "
                "its bytes have changed since they were read through"
            )
        return chunks

    def parts(self, index: int) -> Sequence[torch.Tensor]:
        """The slot's own memory."""
        return self._section.parts(index)


class SlotSink:
    """A slot of the recipient's arena that is taken once the offer is known to be good."""

    def __init__(self, arena: Arena, job: str, member: MemberId, epoch: int) -> None:
        self._arena, self._job, self._member, self._epoch = arena, job, member, epoch
        self._writing: Writing | None = None
        self._section: Section | None = None

    @property
    def total(self) -> int:
        """Bytes of the whole state; 0 before `prepare`."""
        return self._section.bytes.numel() if self._section else 0

    def prepare(self, offer: Offer) -> Sequence[str]:
        """Take a slot, and digest what a broken transfer or an older generation left in it."""
        schema = offer.manifest.schema_
        check(schema, len(offer.manifest.values))
        self._arena.reserve(Arena.slot_bytes(schema))
        very_step = [slot for slot, seal in self._arena.seals().items() if seal.step == offer.identity.step]
        self._writing = self._arena.begin(keep=very_step)
        if self._writing is None:
            raise ArenaDoesNotFit("no slot of the arena is free: all are read, written, or hold this very step")
        data = self._writing.prepare(schema)
        self._section = Section(as_bytes(data), schema, offer.chunk_bytes)
        return digest.chunk_digests(data, offer.chunk_bytes)

    def places(self, index: int) -> Sequence[torch.Tensor]:
        """The slot's own memory."""
        return self._section.parts(index) if self._section else ()

    def keep(self, index: int) -> None:
        """It lies where it belongs."""

    def seal(self, offer: Offer) -> None:
        """Say that the generation is whole."""
        if self._writing is None:
            raise Misuse("a slot is sealed before it was prepared")
        self._writing.seal(
            Seal(
                job=self._job,
                member=self._member,
                incarnation=f"{offer.heal}/{offer.attempt}",
                epoch=self._epoch,
                step=offer.identity.step,
                schema_digest=offer.identity.schema_digest,
                header_bytes=self._writing.header_bytes,
                data_bytes=offer.manifest.schema_.data_bytes,
                values=offer.manifest.values,
                state_digest=offer.identity.state_digest,
            )
        )

    def abandon(self) -> None:
        """Let the slot go; what arrived stays in it for the next attempt."""
        if self._writing is not None:
            self._writing.abandon()
