"""How does a data section become a state dict again?

Tensors are views into the given memory: nothing is copied, unless asked for; what shared storage shares it again.
"""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from pydantic import JsonValue

from checkpointheal.contract.layout import Outer, Schema, TensorEntry
from checkpointheal.errors import BadFrame, ClassDiffers
from checkpointheal.manifest import values as plain
from checkpointheal.manifest.check import check
from checkpointheal.manifest.classes import holder_of
from checkpointheal.manifest.codec import Known
from checkpointheal.manifest.dtypes import BY_NAME
from checkpointheal.manifest.growing import Giver, grow

Data = torch.Tensor | memoryview | bytes | bytearray
NOBODY: Known = {}


def rebuild(schema: Schema, values: Sequence[JsonValue], data: Data) -> Any:
    """The state dict, its tensors viewing `data` (a data section). Raises BadFrame where it does not add up.

    A DTensor comes back as its local tensor and a ShardedTensor as the list of its local shards: mesh and group are the
    target's business. Classes are those that were registered; raises UnknownClass for any other.
    """
    check(schema, len(values))
    return grow(schema.tree, Giver(_views(schema, data), [plain.decode(value) for value in values], NOBODY))


def glance(schema: Schema, values: Sequence[JsonValue], data: Data) -> Any:
    """The state dict, but for objects other than Python's own values: they are their parts. To look at, not to load."""
    check(schema, len(values))
    return grow(schema.tree, _Glance(_views(schema, data), [plain.decode(value) for value in values], NOBODY))


class _Glance(Giver):
    def thing(self, name: str, parts: Any, path: str) -> Any:
        codec = holder_of(name, NOBODY)
        if codec is not None and codec.is_value:
            with suppress(ClassDiffers):  # a zone, say, that is not known here
                return super().thing(name, parts, path)
        return parts

    def wrapper(self, name: str, context: Any, inner: Any, outer: Outer, path: str) -> Any:
        return inner


def _views(schema: Schema, data: Data) -> list[torch.Tensor]:
    section = section_of(schema, data)
    offsets = schema.regions.offsets
    return [view_of(entry, section, offsets[entry.region] + entry.offset) for entry in schema.each_tensor]


def section_of(schema: Schema, data: Data) -> torch.Tensor:
    """The memory of a data section. Raises BadFrame where it is not as long as the schema says."""
    section = as_bytes(data)
    if section.numel() != schema.data_bytes:
        raise BadFrame(f"the data section has {section.numel()} bytes, the schema says {schema.data_bytes}")
    return section


def as_bytes(data: Data) -> torch.Tensor:
    """The memory itself as a 1-D uint8 tensor."""
    if isinstance(data, torch.Tensor):
        return data
    if len(data) == 0:
        return torch.empty(0, dtype=torch.uint8, device="cpu")
    with warnings.catch_warnings():
        # torch has no read-only tensors; what maps read-only memory here only reads it.
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        return torch.frombuffer(data, dtype=torch.uint8)


def view_of(entry: TensorEntry, memory: torch.Tensor, offset: int) -> torch.Tensor:
    """The tensor that lies at this byte of 1-D uint8 memory, a leaf with its need of gradients."""
    dtype = BY_NAME[entry.dtype]
    empty = torch.empty(0, dtype=dtype, device=memory.device)
    if 0 in entry.shape:
        tensor = torch.empty_strided(entry.shape, entry.stride, dtype=dtype, device=memory.device)
    else:
        start = memory.storage_offset() + offset
        tensor = empty.set_(memory.untyped_storage(), start // dtype.itemsize, entry.shape, entry.stride)
    return tensor.requires_grad_(entry.requires_grad) if entry.requires_grad else tensor
