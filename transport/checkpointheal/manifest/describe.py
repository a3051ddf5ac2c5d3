"""What is this live state: its schema, its plain values, and where its bytes are?

Every distinct range of storage is one region, however many tensors view it. Nothing is copied: regions are views of
live memory. Must not know where the bytes will go.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import JsonValue

from checkpointheal.contract.layout import ALIGNMENT, Region, Schema, TensorEntry
from checkpointheal.errors import UnsupportedLeaf
from checkpointheal.manifest import wholes
from checkpointheal.manifest.dtypes import ELEMENTS, name_of
from checkpointheal.manifest.tree import Leaves, plant

_Kind = Literal["tensor", "parameter", "dtensor", "dtensor parameter"]
_GRAIN = 16
"""Regions begin at a multiple of the largest element's size within their storage, so that every view stays aligned."""


@dataclass(frozen=True)
class Described:
    """A live state. `regions` are 1-D uint8 views of its memory, in the schema's order."""

    schema: Schema
    values: tuple[JsonValue, ...]
    regions: tuple[torch.Tensor, ...]
    signature: tuple[Any, ...]
    leaves: Leaves
    """The live tensors and the classes of the live objects, in the order of the tree."""

    def chunks(self, chunk_bytes: int) -> Iterator[memoryview]:
        """The data section piece by piece, each valid until the next. CPU tensors only.

        A view of live memory where one region covers the piece, else packed into a buffer.
        """
        scratch = torch.empty(chunk_bytes, dtype=torch.uint8)
        for start in range(0, self.schema.data_bytes, chunk_bytes):
            length = min(chunk_bytes, self.schema.data_bytes - start)
            yield self._piece(start, length, scratch).numpy().data

    def _piece(self, start: int, length: int, scratch: torch.Tensor) -> torch.Tensor:
        piece = scratch[:length]
        covered = [
            (region, live)
            for region, live in zip(self.schema.regions, self.regions, strict=True)
            if region.nbytes and region.offset < start + length and start < region.offset + region.nbytes
        ]
        if (
            len(covered) == 1
            and covered[0][0].offset <= start
            and start + length <= covered[0][0].offset + covered[0][0].nbytes
        ):
            return covered[0][1][start - covered[0][0].offset :][:length]
        piece.zero_()
        for region, live in covered:
            low, high = max(start, region.offset), min(start + length, region.offset + region.nbytes)
            piece[low - start : high - start].copy_(live[low - region.offset : high - region.offset])
        return piece


def describe(state: Mapping[str, Any], previous: Described | None = None) -> Described:
    """Describe a state dict. Given the previous description, what has not moved is not described again.

    Raises UnsupportedLeaf that names path and type of a leaf that cannot cross.
    """
    leaves = Leaves()
    tree = plant(state, leaves)
    signature = (str(tree), tuple(_where(path, tensor) for path, tensor in leaves.tensors))
    if previous is not None and previous.signature == signature:
        return Described(previous.schema, tuple(leaves.values), previous.regions, signature, leaves)
    locals_ = [_local(path, tensor) for path, tensor in leaves.tensors]
    spans = _spans(locals_)
    regions, live = _lay_out(spans, locals_)
    entries = tuple(
        _entry(path, tensor, local, span)
        for (path, tensor), local, span in zip(leaves.tensors, locals_, spans.of, strict=True)
    )
    size = regions[-1].offset + regions[-1].nbytes if regions else 0
    schema = Schema(tree=tree, tensors=entries, regions=regions, data_bytes=size, value_paths=tuple(leaves.value_paths))
    return Described(schema, tuple(leaves.values), live, signature, leaves)


@dataclass(frozen=True)
class _Span:
    """One region: a range of bytes of one storage."""

    index: int
    start: int
    end: int
    tensor: torch.Tensor


@dataclass(frozen=True)
class _Spans:
    of: Sequence[_Span]
    ordered: Sequence[_Span]


def _local(path: str, tensor: torch.Tensor) -> torch.Tensor:
    local = wholes.local_of(tensor)
    if local.layout != torch.strided or local.is_meta or local.is_quantized or local.dtype not in ELEMENTS:
        raise UnsupportedLeaf(path, wholes.told(local))
    if local.is_conj() or local.is_neg():
        # Its memory holds other numbers than it shows.
        raise UnsupportedLeaf(
            path, "tensor that is conjugated or negated when it is read", "resolve_conj() or resolve_neg()"
        )
    try:
        local.untyped_storage().data_ptr()
    except RuntimeError as error:
        raise UnsupportedLeaf(path, f"{wholes.told(local)} (it has no memory)") from error
    return local.detach()


def _where(path: str, tensor: torch.Tensor) -> tuple[Any, ...]:
    """What stays the same as long as the tensor has not moved. Asked of every tensor at every commit: kept cheap."""
    plain = wholes.is_plain(tensor) and tensor.layout is torch.strided
    local = tensor if plain else _local(path, tensor)
    try:
        place = (local.data_ptr(), local.get_device(), local.shape, local.stride())
    except RuntimeError as error:  # a nest of tensors
        raise UnsupportedLeaf(path, f"{wholes.told(local)} ({str(error)[:80]})") from error
    return place, local.dtype, tensor.requires_grad, type(tensor), local.is_conj(), local.is_neg()


def _extent(local: torch.Tensor) -> tuple[int, int]:
    start = int(local.storage_offset()) * local.element_size()
    if local.numel() == 0:
        return start, start
    last = sum((int(size) - 1) * int(stride) for size, stride in zip(local.shape, local.stride(), strict=True))
    return start, start + (last + 1) * local.element_size()


def _spans(tensors: Sequence[torch.Tensor]) -> _Spans:
    """Ranges that overlap or adjoin are one; each is numbered by the first tensor that it serves."""
    by_storage: dict[Any, list[int]] = {}
    for i, tensor in enumerate(tensors):
        key = (tensor.device, tensor.untyped_storage().data_ptr()) if tensor.numel() else ("empty", i)
        by_storage.setdefault(key, []).append(i)
    groups = [group for members in by_storage.values() for group in _merge(tensors, members)]
    groups.sort(key=lambda group: min(group[2]))
    ordered = [_Span(n, start, end, tensors[members[0]]) for n, (start, end, members) in enumerate(groups)]
    of: dict[int, _Span] = {i: span for span, (_, _, members) in zip(ordered, groups, strict=True) for i in members}
    return _Spans([of[i] for i in range(len(tensors))], ordered)


def _merge(tensors: Sequence[torch.Tensor], members: Sequence[int]) -> list[tuple[int, int, list[int]]]:
    merged: list[tuple[int, int, list[int]]] = []
    for start, end, i in sorted((*_extent(tensors[i]), i) for i in members):
        start -= start % _GRAIN
        if merged and start <= merged[-1][1]:
            low, high, inside = merged[-1]
            merged[-1] = (low, max(high, end), [*inside, i])
        else:
            merged.append((start, end, [i]))
    return merged


def _lay_out(spans: _Spans, tensors: Sequence[torch.Tensor]) -> tuple[tuple[Region, ...], tuple[torch.Tensor, ...]]:
    dtypes: dict[int, set[torch.dtype]] = {}
    for span, tensor in zip(spans.of, tensors, strict=True):
        dtypes.setdefault(span.index, set()).add(tensor.dtype)
    regions, live, offset = [], [], 0
    for span in spans.ordered:
        offset += -offset % ALIGNMENT
        length = span.end - span.start
        regions.append(Region(dtype=_base(dtypes[span.index], length), offset=offset, nbytes=length))
        live.append(_bytes_of(span, length))
        offset += length
    return tuple(regions), tuple(live)


def _base(dtypes: set[torch.dtype], length: int) -> str:
    if len(dtypes) == 1:
        element = ELEMENTS[next(iter(dtypes))]
        if element.safetensors and length % element.size == 0:
            return element.safetensors
    return "U8"


def _bytes_of(span: _Span, length: int) -> torch.Tensor:
    empty = torch.empty(0, dtype=torch.uint8, device=span.tensor.device)
    return empty.set_(span.tensor.untyped_storage(), span.start, (length,), (1,)) if length else empty


def _entry(path: str, tensor: torch.Tensor, local: torch.Tensor, span: _Span) -> TensorEntry:
    return TensorEntry(
        path=path,
        region=span.index,
        dtype=name_of(local.dtype),
        shape=tuple(local.shape),
        stride=tuple(local.stride()),
        offset=_extent(local)[0] - span.start if local.numel() else 0,
        kind=_kind(tensor),
        requires_grad=tensor.requires_grad,
        placement=wholes.placement_of(tensor) if wholes.is_dtensor(tensor) else None,
    )


def _kind(tensor: torch.Tensor) -> _Kind:
    if isinstance(tensor, torch.nn.Parameter):
        return "dtensor parameter" if wholes.is_dtensor(tensor) else "parameter"
    return "dtensor" if wholes.is_dtensor(tensor) else "tensor"
