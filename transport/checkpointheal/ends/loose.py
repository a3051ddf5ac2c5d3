"""How is a generation given without holding anybody up?

For a drill: the slot is not pinned, so its trainer may write over it at any moment. A chunk is copied first and sent
only if the slot was still sealed afterwards; once it is not, the recipient hears that instead. As many chunks as there
is memory for are copied before anything is offered: a small state is given whole, however fast the training is. Must
not know the channel.
"""

from collections.abc import Sequence

import torch

from checkpointheal import digest
from checkpointheal.arena import Reading
from checkpointheal.contract.cut import Cut
from checkpointheal.contract.layout import Identity, Manifest, Schema
from checkpointheal.ends import WINDOW, memory
from checkpointheal.ends.excuse import Excuse
from checkpointheal.ends.section import Section
from checkpointheal.errors import Overtaken
from checkpointheal.manifest.rebuild import as_bytes


class Ring:
    """Memory for as many chunks as are under way at once, used again and again."""

    def __init__(self, schema: Schema, chunk_bytes: int) -> None:
        self._cut = Cut(schema, chunk_bytes)
        self._buffers = [memory.new(self._cut.longest) for _ in range(WINDOW)]

    def parts(self, index: int) -> tuple[torch.Tensor, ...]:
        """Where the parts of a chunk may lie until WINDOW more were asked for."""
        buffer = self._buffers[index % WINDOW]
        return tuple(buffer[part.in_chunk :][: part.nbytes] for part in self._cut.parts(index))


class LooseSource:
    """A sealed generation, for as long as it is one. Its reading is not pinned."""

    def __init__(self, reading: Reading, *, whole: bool, chunk_bytes: int = digest.CHUNK_BYTES) -> None:
        """Reads it through. Raises Overtaken where it was written over meanwhile. `whole` is the excuse's."""
        self._reading, seal = reading, reading.seal
        self._section = Section(as_bytes(reading.data), reading.schema, chunk_bytes)
        self._copied = [-1] * WINDOW
        self._ring, self._excuse = Ring(reading.schema, chunk_bytes), Excuse(whole=whole)
        self.manifest = Manifest(schema=reading.schema, values=seal.values)
        self.chunks = digest.chunk_digests(reading.data, chunk_bytes)
        state = digest.state_digest(seal.schema_digest, seal.values, self.chunks)
        self.identity = Identity(step=seal.step, schema_digest=seal.schema_digest, state_digest=state)
        for index in range(min(WINDOW, len(self.chunks))):
            self._copy(index)
        if not reading.still_sealed():
            raise self._overtaken()

    def parts(self, index: int) -> Sequence[torch.Tensor]:
        """A copy, or the reason why there is none."""
        copies = self._ring.parts(index)
        if self._copied[index % WINDOW] == index:
            return copies
        self._copy(index)
        if self._reading.still_sealed():
            return copies
        self._copied[index % WINDOW] = -1
        return self._excuse.parts(self._overtaken(), [copy.numel() for copy in copies])

    def _copy(self, index: int) -> None:
        for copy, part in zip(self._ring.parts(index), self._section.parts(index), strict=True):
            copy.copy_(part)
        self._copied[index % WINDOW] = index

    def _overtaken(self) -> Overtaken:
        return Overtaken(
            f"training wrote over step {self._reading.seal.step} while it was read: nothing is held up for a drill"
        )
