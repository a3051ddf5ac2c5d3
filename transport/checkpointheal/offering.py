"""What does a donor over a process group offer?

Must not know to whom.
"""

from checkpointheal import digest
from checkpointheal.contract.base import MOST
from checkpointheal.contract.layout import Identity
from checkpointheal.ends.live import LiveSource
from checkpointheal.ends.section import CopiedSource
from checkpointheal.errors import Misuse
from checkpointheal.ranks import whole
from checkpointheal.wire import Offer

HEAL, ATTEMPT = "library", 1
"""A process group has no attempts."""


def offer_of(source: LiveSource | CopiedSource, step: int) -> Offer:
    """This state, which is that of `step`. Raises Misuse for what is no step."""
    number, manifest = require_step(step), source.manifest
    schema, chunks = digest.schema_digest(manifest.schema_), source.digests()
    return Offer(
        heal=HEAL,
        attempt=ATTEMPT,
        identity=Identity(
            step=number, schema_digest=schema, state_digest=digest.state_digest(schema, manifest.values, chunks)
        ),
        manifest=manifest,
        chunk_bytes=digest.CHUNK_BYTES,
        chunks=chunks,
    )


def require_step(step: int) -> int:
    """The step. Raises Misuse where it is none."""
    number = whole(step)
    if number is None or not 0 <= number <= MOST:
        raise Misuse(f"step {step!r} is none: it is a whole number from 0 to {MOST}")
    return number
