"""What a training state looks like without its bytes: tree, tensors, storage regions.

A *schema* is the same at every step of a run; a *manifest* adds the plain values of one step. The data section that it
describes is one flat run of bytes: regions in order, each at a multiple of ALIGNMENT, zeros between.

Must not know torch: dtypes and placements are words here.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Literal, NamedTuple

from pydantic import Field, JsonValue

from checkpointheal.contract.base import Count, Digest, Frozen, Size

ALIGNMENT = 64
"""Every region starts at a multiple of this many bytes, so that any dtype may view it in place."""


class Region(NamedTuple):
    """One distinct range of storage. It crosses once, however many tensors view it."""

    dtype: str
    """Base dtype in safetensors' spelling where all views share it, else U8."""
    offset: int
    """First byte, from the start of the data section."""
    nbytes: int


class Regions(Frozen):
    """All regions in columns, in order: each begins at the first multiple of ALIGNMENT behind the one before it."""

    dtypes: tuple[str, ...]
    nbytes: tuple[Size, ...]

    def __len__(self) -> int:
        return len(self.nbytes)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First byte of each, from the start of the data section."""
        return tuple(_places(self.nbytes))

    @property
    def end(self) -> int:
        """Behind the last one: the length of the data section."""
        return self.offsets[-1] + self.nbytes[-1] if self.nbytes else 0


def _places(lengths: Iterable[int]) -> Iterator[int]:
    at = 0
    for length in lengths:
        yield at
        at += length + -length % ALIGNMENT


class Placement(Frozen):
    """How a DTensor's local region lies in the global tensor. Ranks are informational: the target's mesh decides."""

    global_shape: tuple[Size, ...]
    global_stride: tuple[int, ...]
    placements: tuple[str, ...] = Field(description="One per mesh dimension, e.g. `Shard(dim=0)`.")
    mesh_shape: tuple[Size, ...]
    mesh_dim_names: tuple[str, ...] | None
    mesh_coordinate: tuple[Size, ...] | None


Kind = Literal["tensor", "parameter", "dtensor", "dtensor parameter"]


class Form(Frozen):
    """What many tensors have in common: said once for all of them."""

    dtype: str = Field(description="torch's name without the prefix, e.g. `bfloat16`.")
    shape: tuple[Size, ...]
    stride: tuple[Size, ...] = Field(description="In elements.")
    kind: Kind = "tensor"
    requires_grad: bool = False
    placement: Placement | None = Field(default=None, description="Set for a DTensor.")


class Tensors(Frozen):
    """All tensors in columns of one length, in the order of their numbers. The columns are in that of the alphabet."""

    forms: tuple[Size, ...] = Field(description="Index of the form that each has.")
    offsets: tuple[Size, ...] = Field(description="First byte, from the start of the region.")
    paths: tuple[str, ...] = Field(description="Dotted paths in the tree; for people and for comparing by name.")
    regions: tuple[Size, ...] = Field(description="Index of the region that holds its bytes.")

    def __len__(self) -> int:
        return len(self.paths)


class TensorEntry(NamedTuple):
    """One tensor of the tree, as a view of a region."""

    path: str
    region: int
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    kind: Kind
    requires_grad: bool
    placement: Placement | None


class Outer(Frozen):
    """How a tensor that is made of other tensors looks from outside."""

    shape: tuple[Size, ...]
    stride: tuple[int, ...]
    requires_grad: bool = False
    parameter: bool = False
    placement: Placement | None = Field(default=None, description="Set for a DTensor whose local tensor is such a one.")


class ShardPlace(Frozen):
    """Where one shard of a ShardedTensor lies in the whole, and with whom."""

    offsets: tuple[Size, ...]
    sizes: tuple[Size, ...]
    holder: str = Field(max_length=128, description="As torch writes it, e.g. `rank:0/cpu`.")


class Sharding(Frozen):
    """A ShardedTensor without its bytes: the whole, every rank's shards, and which of them are here."""

    global_shape: tuple[Size, ...]
    dtype: str
    requires_grad: bool
    memory_format: Literal["contiguous_format", "channels_last", "preserve_format"]
    pinned: bool
    strides: tuple[int, ...] | None
    shards: tuple[ShardPlace, ...]
    local: tuple[ShardPlace, ...]


class Schema(Frozen):
    """The part of a manifest that does not change from step to step."""

    tree: JsonValue = Field(
        description="Containers and objects, tagged; leaves are `{T: i}` for tensor i and `{V: i}` for value i."
    )
    forms: tuple[Form, ...]
    tensors: Tensors
    regions: Regions
    data_bytes: Size = Field(description="Length of the data section, padding included.")
    value_paths: tuple[str, ...] = Field(description="Dotted path of each value leaf, in index order.")

    @cached_property
    def each_tensor(self) -> tuple[TensorEntry, ...]:
        """The tensors one by one. It takes a while where they are many, and must have been checked."""
        columns = self.tensors
        rows = zip(columns.paths, columns.forms, columns.regions, columns.offsets, strict=True)
        return tuple(_entry(path, self.forms[form], region, offset) for path, form, region, offset in rows)

    @cached_property
    def each_region(self) -> tuple[Region, ...]:
        """The regions one by one."""
        return tuple(map(Region, self.regions.dtypes, self.regions.offsets, self.regions.nbytes))


def _entry(path: str, form: Form, region: int, offset: int) -> TensorEntry:
    return TensorEntry(
        path, region, form.dtype, form.shape, form.stride, offset, form.kind, form.requires_grad, form.placement
    )


class Manifest(Frozen):
    """Schema and the plain values of one step."""

    schema_: Schema = Field(alias="schema")
    values: tuple[JsonValue, ...] = Field(description="Value i of the tree, tagged so that it comes back exactly.")

    model_config = Frozen.model_config | {"populate_by_name": True}


class Difference(Frozen):
    """One way in which an offered state does not fit its target. Refused by name before a byte crosses."""

    path: str
    what: str = Field(
        description="`missing`, `unexpected`, `dtype`, `shape`, `stride`, `placement`, `tie`, `storage`, "
        "`container` or `context`."
    )
    offered: str
    target: str

    def __str__(self) -> str:
        if self.what == "missing":
            return f"{self.path} is not in the offered state and is {self.target} here"
        if self.what == "unexpected":
            return f"{self.path} is {self.offered} in the offered state and is not here"
        return f"{self.path}: {self.what} is {self.offered}, here {self.target}"


class Identity(Frozen):
    """What 'the same state' means: equal identities hold equal bytes."""

    step: Count
    schema_digest: Digest
    state_digest: Digest
