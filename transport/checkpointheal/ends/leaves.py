"""How does a staged state become a state dict of its own?

Must not know how the bytes came.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from checkpointheal.contract.cut import LARGE
from checkpointheal.contract.layout import Difference, Form, Manifest, Outer, Schema, Sharding, TensorEntry
from checkpointheal.ends import memory
from checkpointheal.ends.placements import Meshes
from checkpointheal.ends.shards import shard_again
from checkpointheal.manifest import values
from checkpointheal.manifest.classes import find
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
        self._made: dict[int, torch.Tensor] = {}

    def require_fit(self, offered: Manifest) -> Collection[int]:
        """The regions that are needed: all. Everything of `fill` is rehearsed without the bytes.

        Raises UnknownClass, SchemaDiffers or BadFrame.
        """
        schema = offered.schema_
        if any(form.placement for form in schema.forms):
            self._meshes.require((entry.path, entry.placement) for entry in schema.each_tensor)
        plain = [values.decode(value) for value in offered.values]
        grow(schema.tree, _Rehearsal(schema, plain, self._meshes))
        return range(len(schema.regions))

    def room(self, schema: Schema) -> Places:
        """New memory, one storage per region: as the very tensor, where it has the region to itself."""
        self._made = dict(_alone(schema))
        owners = {schema.tensors.regions[at]: tensor for at, tensor in self._made.items()}
        storages = [
            (owners[at] if at in owners else memory.new(nbytes)).untyped_storage()
            for at, nbytes in enumerate(schema.regions.nbytes)
        ]
        return Places(storages, [0] * len(storages), schema.regions.nbytes, on_cpu=True)

    def fill(self, manifest: Manifest, regions: Sequence[torch.Tensor]) -> Any:
        """The state dict, given verified regions."""
        plain = [values.decode(value) for value in manifest.values]
        schema = manifest.schema_
        tensors = [
            self._made[at] if at in self._made else _leaf(schema.each_tensor[at], regions, self._meshes)
            for at in range(len(schema.tensors))
        ]
        return grow(schema.tree, _New(tensors, plain, self._meshes))


def _alone(schema: Schema) -> Iterator[tuple[int, torch.Tensor]]:
    """New tensors, by their numbers, of those that nobody shares memory with: as many are made at once as can be."""
    columns, sizes = schema.tensors, schema.regions.nbytes
    shared = Counter(columns.regions) if len(set(columns.regions)) < len(columns.regions) else {}
    makers = [_maker(form) for form in schema.forms]
    for at, (number, region, offset) in enumerate(zip(columns.forms, columns.regions, columns.offsets, strict=True)):
        maker = makers[number]
        if maker is not None and maker.nbytes == sizes[region] and not offset and shared.get(region, 1) == 1:
            yield at, maker.make()


class _Maker(NamedTuple):
    """Makes tensors of one form."""

    nbytes: int
    make: Callable[[], torch.Tensor]


def _maker(form: Form) -> _Maker | None:
    """None: by way of its region's bytes."""
    if form.kind != "tensor" or form.requires_grad or 0 in form.shape or (nbytes := reach(form)) >= LARGE:
        return None
    first = torch.empty_strided(form.shape, form.stride, dtype=BY_NAME[form.dtype])
    if torch.empty_like(first).stride() == form.stride:
        return _Maker(nbytes, partial(torch.empty_like, first))
    return _Maker(nbytes, partial(torch.empty_strided, form.shape, form.stride, dtype=first.dtype))


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


class _Rehearsal(_New):
    """Asks for every class and makes nothing of it, but for ShardedTensors, which it makes without memory."""

    def __init__(self, schema: Schema, plain: Sequence[Any], meshes: Meshes) -> None:
        super().__init__(range(len(schema.tensors)), plain, meshes)
        self._schema = schema

    def thing(self, name: str, parts: Any, path: str) -> Any:
        find(name, {}, path)
        return name, str(parts)

    def wrapper(self, name: str, context: Any, inner: Any, outer: Outer, path: str) -> Any:
        find(name, {}, path)

    def distributed(self, local: Any, outer: Outer, path: str) -> Any:
        self._meshes.require([(path, outer.placement)])

    def sharded(self, shards: list[Any], sharding: Sharding, path: str) -> Any:
        shard_again([_shape_of(self._schema.each_tensor[at]) for at in shards], sharding, path)


def _shape_of(entry: TensorEntry) -> torch.Tensor:
    tensor = torch.empty_strided(entry.shape, entry.stride, dtype=BY_NAME[entry.dtype], device="meta")
    return tensor.requires_grad_(entry.requires_grad) if entry.requires_grad else tensor


def _leaf(entry: TensorEntry, regions: Sequence[torch.Tensor], meshes: Meshes) -> torch.Tensor:
    local = meshes.distribute(view_of(entry, regions[entry.region]), entry.placement)
    if entry.kind in ("parameter", "dtensor parameter"):
        return torch.nn.Parameter(local, requires_grad=entry.requires_grad)
    return local.requires_grad_(entry.requires_grad) if entry.requires_grad else local


def view_of(entry: TensorEntry, region: torch.Tensor) -> torch.Tensor:
    """The tensor as a view of its staged region."""
    dtype = BY_NAME[entry.dtype]
    if 0 in entry.shape:
        return torch.empty_strided(entry.shape, entry.stride, dtype=dtype)
    start = entry.offset // dtype.itemsize
    return torch.empty(0, dtype=dtype).set_(region.untyped_storage(), start, entry.shape, entry.stride)
