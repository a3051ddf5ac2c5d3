"""What may come of an input, and what never may?

A state is compared as a whole: schema, values and bytes. Must not know how the input was given.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import torch

from checkpointheal import PGTransport, manifest, wire
from checkpointheal.contract.layout import Identity
from checkpointheal.ends.leaves import NewState
from checkpointheal.ends.placements import Meshes
from checkpointheal.errors import BadFrame, CheckpointHealError, TargetInvalid, UnsupportedLeaf
from fuzz import states

SECONDS = 60.0
"""How long anybody waits for a peer: none is ever silent, but the search itself may stand still on a busy machine."""
PATIENCE = timedelta(seconds=SECONDS)
SMALL = 1 << 16
"""Bytes of a data section that is really made; of a tensor, elements that are really read."""


class WrongOutcome(Exception):
    """Something came of an input that never may."""


class Aim(NamedTuple):
    """What is tried, with what the search begins, and how one input becomes another."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    mutate: Callable[..., bytes]


def require(holds: bool) -> None:
    """Raises WrongOutcome where it does not."""
    if not holds:
        raise WrongOutcome("what came of this input never may")


def refuses_to_send(transport: PGTransport, live: object) -> bool:
    """What is neither the old state nor the new one must not be passed on."""
    try:
        transport.send_checkpoint([0], live)
    except TargetInvalid:
        return True
    except CheckpointHealError:
        return False
    return False


def offer_in(messages: Sequence[bytes]) -> wire.Offer:
    """What the first two messages offer. Raises BadFrame or UnknownVersion where they do not."""
    prefix, head = [*messages, b"", b""][:2]
    said = wire.parse(wire.parse_prefix(prefix.ljust(wire.PREFIX_BYTES, b"\0")), head)
    if not isinstance(said, wire.Offer):
        raise BadFrame(f"{type(said).__name__} came where an offer was looked for")
    return said


def told(messages: Sequence[bytes]) -> object:
    """The state that this donor told; None where it did not say every byte."""
    offer = offer_in(messages)
    return state_of(offer, b"".join(messages[2 : 2 + len(offer.chunks)]))


def state_of(offer: wire.Offer, data: bytes) -> object:
    """The state with this data section, made again without session and ends; None of a section of another length."""
    schema = offer.manifest.schema_
    if len(data) != schema.data_bytes:
        return None
    return NewState(Meshes(None, "cpu")).fill(
        offer.manifest, [_bytes(data[each.offset :][: each.nbytes]) for each in schema.each_region]
    )


def alike(one: object, other: object) -> bool:
    """Whether both have the same values, and tensors of the same bytes, however these lie in their storages."""
    first, second = (manifest.describe({"": each}) for each in (one, other))
    pairs = zip(first.leaves.tensors, second.leaves.tensors, strict=True)
    return first.values == second.values and all(torch.equal(*map(_flat, pair)) for pair in pairs)


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().reshape(-1).contiguous().view(torch.uint8)


def same(one: object, other: object) -> bool:
    """Whether both are one state."""
    return identity(one) == identity(other)


def identity(state: Any) -> Identity | None:
    """Schema, values and bytes; None for what may be received, but not be given."""
    with contextlib.suppress(UnsupportedLeaf):
        return states.offer_of(manifest.describe({"": state})).identity
    return None


def read_through(node: Any) -> None:
    """Touch every element that there is: one outside of its memory would be felt."""
    for tensor in _tensors(node):
        if tensor.numel() <= SMALL:
            with contextlib.suppress(RuntimeError):  # some dtypes can only be held
                tensor.detach().clone(memory_format=torch.contiguous_format)


def _tensors(node: Any) -> Sequence[torch.Tensor]:
    if type(node) in (torch.Tensor, torch.nn.Parameter):
        return [node]
    inner = node.values() if isinstance(node, Mapping) else node if isinstance(node, list | tuple) else ()
    return [found for each in inner for found in _tensors(each)]


def _bytes(raw: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8) if raw else torch.empty(0, dtype=torch.uint8)
