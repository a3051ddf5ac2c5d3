"""Where does a state go that is received to see that it can be?

For a drill: into memory for a few chunks, which is used again and again. Every byte is digested as it would be for a
heal, and nothing is kept. Must not know the channel, nor an arena.
"""

from collections.abc import Sequence

import torch

from checkpointheal.contract.layout import Identity
from checkpointheal.ends.loose import Ring
from checkpointheal.errors import BytesDiffer
from checkpointheal.manifest.check import check
from checkpointheal.wire import Offer


class ScratchSink:
    """Takes the state that is expected, or a newer one of the same schema."""

    def __init__(self, expected: Identity) -> None:
        self._expected = expected
        self._ring: Ring | None = None

    def prepare(self, offer: Offer) -> Sequence[str]:
        """Nothing lies here. Raises BytesDiffer where another state is offered."""
        schema = offer.manifest.schema_
        check(schema, len(offer.manifest.values))
        self._judge(offer.identity)
        self._ring = Ring(schema, offer.chunk_bytes)
        return ()

    def places(self, index: int) -> Sequence[torch.Tensor]:
        """In the ring."""
        return self._ring.parts(index) if self._ring else ()

    def keep(self, index: int) -> None:
        """It was verified; that is all."""

    def seal(self, offer: Offer) -> None:
        """Nothing is sealed."""

    def _judge(self, found: Identity) -> None:
        """Of the same step it must be the same bytes, as for a heal."""
        wanted = self._expected
        if found.schema_digest != wanted.schema_digest:
            offered, due = found.schema_digest[:8], wanted.schema_digest[:8]
            raise BytesDiffer(f"the donor offers a state of schema {offered}, {due} is wanted")
        if found.step < wanted.step or (found.step == wanted.step and found != wanted):
            raise BytesDiffer(
                f"the donor offers step {found.step} as {found.state_digest[:8]}, wanted is step {wanted.step} as "
                f"{wanted.state_digest[:8]}, or a later one"
            )
