"""How does a data section become a state dict again?

Tensors are views into the given memory: nothing is copied, unless asked for; what shared storage shares it again.
"""

import warnings
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import torch
from pydantic import JsonValue

from checkpointheal.contract.layout import Outer, Schema, TensorEntry
from checkpointheal.errors import BadFrame, CheckpointHealError, ClassDiffers, UnknownClass
from checkpointheal.manifest import values as plain
from checkpointheal.manifest.check import check
from checkpointheal.manifest.classes import holder_of
from checkpointheal.manifest.codec import Known
from checkpointheal.manifest.dtypes import BY_NAME
from checkpointheal.manifest.growing import Giver, grow

Data = torch.Tensor | memoryview | bytes | bytearray
_NOBODY: Known = {}


def rebuild(schema: Schema, values: Sequence[JsonValue], data: Data, known: Known = _NOBODY) -> Any:
    """The state dict, its tensors viewing `data` (a data section). Raises BadFrame where it does not add up.

    A DTensor comes back as its local tensor and a ShardedTensor as the list of its local shards: mesh and group are the
    target's business. Classes are those that were registered, and `known`; raises UnknownClass for any other.
    """
    return grow(schema.tree, _giver(schema, values, data, known))


def rebuild_apart(
    schema: Schema, values: Sequence[JsonValue], data: Data, known: Known, branch: str
) -> tuple[dict[str, Any], dict[str, CheckpointHealError]]:
    """The same of a mapping of mappings, but what stands under `branch` entry by entry.

    Besides, by its key, why one of these could not be made: UnknownClass, ClassDiffers or BadFrame.
    """
    giver, pairs = _giver(schema, values, data, known), _pairs_of(schema.tree)
    state: dict[str, Any] = grow({"d": [pair for pair in pairs if pair[0] != branch]}, giver)
    left: dict[str, CheckpointHealError] = {}
    state[branch] = {}
    for pair in _pairs_of(next((node for key, node in pairs if key == branch), {"d": []})):
        try:
            state[branch].update(grow({"d": [pair]}, giver))
        except (UnknownClass, BadFrame) as error:
            left[str(pair[0])] = error
    return state, left


def _giver(schema: Schema, values: Sequence[JsonValue], data: Data, known: Known) -> Giver:
    check(schema, len(values))
    return Giver(_views(schema, data), [plain.decode(value) for value in values], known)


def _pairs_of(tree: Any) -> list[Any]:
    ((tag, pairs),) = tree.items()
    if tag != "d":
        raise BadFrame("the state is no mapping of mappings")
    return list(pairs)


def remake(
    schema: Schema,
    values: Sequence[JsonValue],
    data: Data,
    known: Known = _NOBODY,
    names: Collection[str] | None = None,
) -> Any:
    """The same in new memory, one storage for each region: a state dict that is described as the one it came from.

    `names`: of its outermost keys these alone, and no memory for the others.
    """
    check(schema, len(values))
    tree = schema.tree if names is None else _of_names(schema.tree, names)
    return grow(tree, _Anew(schema, _section(schema, data), [plain.decode(value) for value in values], known))


def _of_names(tree: Any, names: Collection[str]) -> JsonValue:
    """Of a mapping, what stands under these keys."""
    ((tag, pairs),) = tree.items()
    return {tag: [pair for pair in pairs if isinstance(pair[0], str) and pair[0] in names]}


class _Anew(Giver):
    """Tensors in memory that is made when the first of its region is asked for."""

    def __init__(self, schema: Schema, section: torch.Tensor, plain: Sequence[Any], known: Known) -> None:
        super().__init__(schema.each_tensor, plain, known)
        self._regions, self._section = schema.regions, section
        self._memories: dict[int, torch.Tensor] = {}

    def tensor(self, index: int) -> Any:
        entry = self._tensors[index]
        if entry.region not in self._memories:
            offset, nbytes = self._regions.offsets[entry.region], self._regions.nbytes[entry.region]
            self._memories[entry.region] = self._section[offset : offset + nbytes].clone()
        return _view(entry, self._memories[entry.region], entry.offset)

    def run(self, first: int, count: int) -> Sequence[Any]:
        return [self.tensor(first + at) for at in range(len(super().run(first, count)))]


def glance(schema: Schema, values: Sequence[JsonValue], data: Data) -> Any:
    """The state dict, but for objects other than Python's own values: they are their parts. To look at, not to load."""
    check(schema, len(values))
    return grow(schema.tree, _Glance(_views(schema, data), [plain.decode(value) for value in values], _NOBODY))


class _Glance(Giver):
    def thing(self, name: str, parts: Any, path: str) -> Any:
        codec = holder_of(name, _NOBODY)
        if codec is not None and codec.is_value:
            with suppress(ClassDiffers):  # a zone, say, that is not known here
                return super().thing(name, parts, path)
        return parts

    def wrapper(self, name: str, context: Any, inner: Any, outer: Outer, path: str) -> Any:
        return inner


def _views(schema: Schema, data: Data) -> list[torch.Tensor]:
    section = _section(schema, data)
    offsets = schema.regions.offsets
    return [_view(entry, section, offsets[entry.region] + entry.offset) for entry in schema.each_tensor]


def _section(schema: Schema, data: Data) -> torch.Tensor:
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


def _view(entry: TensorEntry, memory: torch.Tensor, offset: int) -> torch.Tensor:
    dtype = BY_NAME[entry.dtype]
    empty = torch.empty(0, dtype=dtype, device=memory.device)
    if 0 in entry.shape:
        tensor = torch.empty_strided(entry.shape, entry.stride, dtype=dtype, device=memory.device)
    else:
        start = memory.storage_offset() + offset
        tensor = empty.set_(memory.untyped_storage(), start // dtype.itemsize, entry.shape, entry.stride)
    return tensor.requires_grad_(entry.requires_grad) if entry.requires_grad else tensor
