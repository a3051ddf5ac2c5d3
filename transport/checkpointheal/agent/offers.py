"""What does a donor's child offer, and on which terms does either side's child move bytes?

Must not know where the bytes lie.
"""

from collections.abc import Callable, Sequence

from checkpointheal import digest
from checkpointheal.agent.errand import Errand
from checkpointheal.channel.pace import Pace
from checkpointheal.contract.layout import Identity, Manifest
from checkpointheal.ends import Terms
from checkpointheal.wire import Offer


def offer(errand: Errand, identity: Identity, manifest: Manifest, chunks: Sequence[str]) -> Offer:
    """This state, under the errand's heal and attempt."""
    return Offer(
        heal=errand.heal,
        attempt=errand.attempt,
        identity=identity,
        manifest=manifest,
        chunk_bytes=digest.CHUNK_BYTES,
        chunks=tuple(chunks),
        chunk_seconds=Pace(errand.bytes_per_second, 0).seconds(digest.CHUNK_BYTES),
    )


def terms(errand: Errand, now: float, progress: Callable[[int], None] = lambda _bytes: None) -> Terms:
    """From `now` on, a monotonic instant."""
    return Terms(now + errand.deadline, errand.stall, progress, errand.bytes_per_second)
