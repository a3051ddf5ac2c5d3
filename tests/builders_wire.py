"""Offers whose digests are true, and the frames around them."""

from collections.abc import Sequence

import builders_arena
from checkpointheal import digest
from checkpointheal.contract.layout import Identity, Manifest, Schema
from checkpointheal.wire import Offer, Range, Want

HEAL, ATTEMPT, STEP = "heal", 3, 7
CHUNK = 256


def a_schema(*sizes: int) -> Schema:
    """As the arena's, with a tree that the manifest reads."""
    schema = builders_arena.a_schema(*sizes)
    tree = {"d": [[path, {"T": index}] for index, path in enumerate(schema.tensors.paths)]}
    return schema.model_copy(update={"tree": tree})


def an_offer(schema: Schema | None = None, step: int = STEP, chunk_bytes: int = CHUNK, **changes: object) -> Offer:
    """Of the pattern that the arena's builder makes for this step."""
    schema = schema or a_schema()
    chunks = digest.chunk_digests(builders_arena.pattern(schema, step), chunk_bytes)
    name = digest.schema_digest(schema)
    offer = Offer(
        heal=HEAL,
        attempt=ATTEMPT,
        identity=Identity(step=step, schema_digest=name, state_digest=digest.state_digest(name, (), chunks)),
        manifest=Manifest(schema=schema, values=()),
        chunk_bytes=chunk_bytes,
        chunks=chunks,
    )
    return offer.model_copy(update=changes)


def a_want(*ranges: Sequence[int]) -> Want:
    """Ranges as pairs."""
    return Want(ranges=tuple(Range(first=first, end=end) for first, end in ranges))
