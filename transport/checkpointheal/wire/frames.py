"""What do donor and recipient say to each other in the process group?

    recipient -> Hello          who I am here for, and the versions that I speak
    donor     -> Offer          the manifest, and a digest for every chunk of the data section
    recipient -> Want           the chunks that do not lie here yet
    donor     -> those chunks, in order, bare
    recipient -> Want           again, as often as it likes; with nothing in it, a sign of life
    recipient -> Receipt        all of it is here, verified
    either    -> Refuse         instead of its next frame, and the attempt is over

Rules that live here: whatever one frame can say wrong by itself. Must not know how frames travel, nor torch.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Self

from pydantic import Field, IPvAnyAddress, StringConstraints, model_validator

from checkpointheal.contract.base import Attempt, Count, Digest, Frozen, Seconds
from checkpointheal.contract.cut import Cut
from checkpointheal.contract.layout import Identity, Manifest

CHUNK_LIMIT = 256 << 20
"""A larger chunk would be held in memory before its digest is known."""

MESSAGE_LIMIT = 4000

REASON = r"^[A-Z][A-Za-z]{0,63}$"
_NAMED = 3

HealName = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Lifeline(Frozen):
    """Where the recipient waits to be called for a second connection, whose end tells that a process is gone.

    Who calls says `call`, who answers says `answer`: whoever else listens at that address is told nothing.
    """

    host: IPvAnyAddress
    port: Annotated[int, Field(ge=1, le=65535)]
    call: Digest
    answer: Digest


class Hello(Frozen):
    """The recipient is there. Its layout is that of version 1 for ever, so that any two builds can part politely."""

    heal: HealName
    attempt: Attempt
    spoken: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(
        min_length=1, max_length=16, description="Versions of the wire that the recipient speaks."
    )
    lifeline: Lifeline | None = Field(default=None, description="Where channels have none of their own.")


class Offer(Frozen):
    """What the donor holds. Everything that must be checked before a byte is allocated."""

    heal: HealName
    attempt: Attempt
    identity: Identity
    manifest: Manifest
    chunk_bytes: Annotated[int, Field(ge=1, le=CHUNK_LIMIT)] = Field(description="The last chunk may be shorter.")
    chunks: tuple[Digest, ...] = Field(description="One digest per chunk of the data section, in order.")
    chunk_seconds: Seconds = Field(
        default=0, description="How long the donor's own cap makes one chunk take: what a patient recipient allows for."
    )

    @model_validator(mode="after")
    def _covers_the_data_section(self) -> Self:
        needed = -(-self.manifest.schema_.data_bytes // self.chunk_bytes)
        if len(self.chunks) != needed:
            raise ValueError(f"{len(self.chunks)} chunks are listed, the data section has {needed}")
        return self

    def cut(self) -> Cut:
        """Where its chunks and their parts begin and end."""
        return Cut(self.manifest.schema_, self.chunk_bytes)

    def missing(self, present: Sequence[Digest]) -> list[int]:
        """Chunks that do not lie where these digests were taken, ascending; there may be fewer digests than chunks."""
        return [i for i, chunk in enumerate(self.chunks) if i >= len(present) or present[i] != chunk]

    def remedy(self) -> str:
        """What would make it shorter: its plain values are part of it, the bytes of tensors are not."""
        paths, values = self.manifest.schema_.value_paths, self.manifest.values
        sizes = {path: len(json.dumps(value)) for path, value in zip(paths, values, strict=True)}
        largest = sorted(sizes, key=lambda path: -sizes[path])[:_NAMED]
        if sum(sizes.values()) < len(self.manifest.schema_.model_dump_json()):
            return "merge tensors"
        told = ", ".join(f"{path or 'the state itself'} ({sizes[path]} bytes)" for path in largest)
        return f"make a tensor of what is large in it: {told}"

    def bytes_of(self, chunks: Iterable[int]) -> int:
        """How many bytes these chunks have."""
        size = self.manifest.schema_.data_bytes
        return sum(min(self.chunk_bytes, size - index * self.chunk_bytes) for index in chunks)


class Range(Frozen):
    """Chunks `first` to `end - 1`."""

    first: Count
    end: Count


class Want(Frozen):
    """The chunks to send next, ascending, none twice; none at all where there is nothing to ask for, or not yet."""

    ranges: tuple[Range, ...]

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        position = -1
        for wanted in self.ranges:
            if wanted.first <= position or wanted.end <= wanted.first:
                raise ValueError(f"the range {wanted.first}..{wanted.end} is empty, or not after the one before it")
            position = wanted.end
        return self


class Receipt(Frozen):
    """The whole state lies verified at the recipient; the donor may let go."""

    state_digest: Digest


class Refuse(Frozen):
    """No, and why. Its layout is that of version 1 for ever."""

    reason: Annotated[str, StringConstraints(pattern=REASON)]
    message: Annotated[str, StringConstraints(max_length=MESSAGE_LIMIT)]


Frame = Hello | Offer | Want | Receipt | Refuse
