"""How does a staged state become a state dict of its own?

Must not know how the bytes came.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from checkpointheal.contract.cut import LARGE
from checkpointheal.contract.layout import Difference, Form, Manifest, Outer, Schema, Sharding, TensorEntry
from checkpointheal.ends import memory, mixed
from checkpointheal.ends.placements import Meshes
from checkpointheal.ends.shards import shard_again
from checkpointheal.errors import BadFrame
from checkpointheal.manifest import values
from checkpointheal.manifest.classes import TEXTS, find
from checkpointheal.manifest.dtypes import BY_NAME
from checkpointheal.manifest.growing import Giver, as_outer, grow
from checkpointheal.manifest.places import Places
from checkpointheal.manifest.reach import reach


class NewState:
    """A state in memory of its own: tensors view their regions, and tied ones stay tied.

    A DTensor without a mesh is its shard, a ShardedTensor without a default process group the list of its shards.
    """

    bridged: tuple[Difference, ...] = ()
    filled: tuple[torch.Tensor, ...] = ()

    def __init__(self, meshes: Meshes) -> None:
        self._meshes = meshes
        self._made: Sequence[torch.Tensor | None] = ()

    def require_fit(self, offered: Manifest) -> Collection[int]:
        """The regions that are needed: all. Everything of `fill` is rehearsed without the bytes.

        Raises UnknownClass, ClassDiffers, SchemaDiffers or BadFrame.
        """
        schema = offered.schema_
        if any(form.placement for form in schema.forms):
            self._meshes.require((entry.path, entry.placement) for entry in schema.each_tensor)
        plain = [values.decode(value) for value in offered.values]
        grow(schema.tree, _Rehearsal(schema, plain, self._meshes))
        return range(len(schema.regions))

    def room(self, schema: Schema) -> Places:
        """New memory, one storage per region: as the very tensor, where it has the region to itself."""
        self._made = _alone(schema)
        numbers, sizes = schema.tensors.regions, schema.regions.nbytes
        storages: list[Any] = [None] * len(sizes)
        for number, tensor in zip(numbers, self._made, strict=True):
            if tensor is not None:
                storages[number] = tensor.untyped_storage()
        storages = [
            memory.new(sizes[at]).untyped_storage() if each is None else each for at, each in enumerate(storages)
        ]
        return Places(storages, [0] * len(storages), sizes, on_cpu=True)

    def fill(self, manifest: Manifest, regions: Sequence[torch.Tensor]) -> Any:
        """The state dict, given verified regions."""
        plain = [values.decode(value) for value in manifest.values]
        schema = manifest.schema_
        tensors = [
            _leaf(schema.each_tensor[at], regions, self._meshes) if made is None else made
            for at, made in enumerate(self._made or [None] * len(schema.tensors))
        ]
        return grow(schema.tree, _New(tensors, plain, self._meshes))

    def give_up(self, error: BaseException) -> mixed.Memory:
        """Nothing live was touched."""
        return ()


def _alone(schema: Schema) -> list[torch.Tensor | None]:
    """New tensors, where nobody shares memory with them and they are no more than memory."""
    columns, sizes = schema.tensors, schema.regions.nbytes
    if len(set(columns.regions)) < len(columns.regions):
        times = Counter(columns.regions)
        shared = {region for region, count in times.items() if count > 1}
    else:
        shared = set()
    makers = [_maker(form) for form in schema.forms]
    found: list[torch.Tensor | None] = []
    for number, region, offset in zip(columns.forms, columns.regions, columns.offsets, strict=True):
        nbytes, make = makers[number]
        found.append(None if offset or nbytes != sizes[region] or region in shared else make())
    return found


def _maker(form: Form) -> tuple[int, Callable[[], torch.Tensor]]:
    """How many bytes tensors of this form have, and what makes one; -1: it is made by way of its region."""
    if form.kind != "tensor" or form.requires_grad or 0 in form.shape or reach(form) >= LARGE:
        return -1, torch.Tensor
    first = torch.empty_strided(form.shape, form.stride, dtype=BY_NAME[form.dtype], device="cpu")
    if torch.empty_like(first).stride() == form.stride:
        return reach(form), partial(torch.empty_like, first)
    return reach(form), partial(torch.empty_strided, form.shape, form.stride, dtype=first.dtype, device="cpu")


class _New(Giver):
    """New tensors, laid out as far as there is a mesh or a group for them."""

    def __init__(self, tensors: Sequence[Any], plain: Sequence[Any], meshes: Meshes) -> None:
        super().__init__(tensors, plain, {})
        self._meshes = meshes

    def distributed(self, local: Any, outer: Outer, path: str) -> Any:
        whole = self._meshes.distribute(local, outer.placement)
        return local if whole is local else as_outer(whole, outer)

    def sharded(self, shards: list[Any], sharding: Sharding, path: str) -> Any:
        return shard_again(shards, sharding, path)


@dataclass(frozen=True, eq=False)
class _Unmade:
    """Stands for what is made of bytes that have not come; of a tensor alone the form is known."""

    form: Form | None = None


class _Rehearsal(_New):
    """Makes what needs no bytes: objects whose parts hold no tensor, or do not read it; ShardedTensors without memory.

    Of all others it asks for the class.
    """

    def __init__(self, schema: Schema, plain: Sequence[Any], meshes: Meshes) -> None:
        stands = [_Unmade(form) for form in schema.forms]
        super().__init__([stands[number] for number in schema.tensors.forms], plain, meshes)

    def thing(self, name: str, parts: Any, path: str) -> Any:
        is_made = not (find(name, {}, path).may_read and _lacks(parts))
        return super().thing(name, parts, path) if is_made else _Unmade()

    def wrapper(self, name: str, context: Any, inner: Any, outer: Outer, path: str) -> Any:
        find(name, {}, path)
        return _Unmade()

    def distributed(self, local: Any, outer: Outer, path: str) -> Any:
        self._meshes.require([(path, outer.placement)])
        return _Unmade()

    def sharded(self, shards: list[Any], sharding: Sharding, path: str) -> Any:
        if not all(isinstance(each, _Unmade) for each in shards):
            raise BadFrame(f"{path} has a shard that is no tensor")
        if forms := [each.form for each in shards if each.form is not None]:
            shard_again([_shape_of(form) for form in forms], sharding, path)
        return _Unmade()


def _lacks(parts: Any) -> bool:
    """Whether anything in them is unmade."""
    if isinstance(parts, Mapping):
        return any(map(_lacks, parts.values()))
    is_nest = isinstance(parts, Sequence) and not isinstance(parts, TEXTS)
    return any(map(_lacks, parts)) if is_nest else isinstance(parts, _Unmade)


def _shape_of(form: Form) -> torch.Tensor:
    tensor = torch.empty_strided(form.shape, form.stride, dtype=BY_NAME[form.dtype], device="meta")
    return tensor.requires_grad_(form.requires_grad) if form.requires_grad else tensor


def _leaf(entry: TensorEntry, regions: Sequence[torch.Tensor], meshes: Meshes) -> torch.Tensor:
    local = meshes.distribute(view_of(entry, regions[entry.region]), entry.placement)
    if entry.kind in ("parameter", "dtensor parameter"):
        return torch.nn.Parameter(local, requires_grad=entry.requires_grad)
    return local.requires_grad_(entry.requires_grad) if entry.requires_grad else local


def view_of(entry: TensorEntry, region: torch.Tensor) -> torch.Tensor:
    """The tensor as a view of its staged region, which may lie behind others in one storage."""
    dtype = BY_NAME[entry.dtype]
    if 0 in entry.shape:
        return torch.empty_strided(entry.shape, entry.stride, dtype=dtype, device="cpu")
    start = (region.storage_offset() + entry.offset) // dtype.itemsize
    return torch.empty(0, dtype=dtype, device="cpu").set_(region.untyped_storage(), start, entry.shape, entry.stride)
