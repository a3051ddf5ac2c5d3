"""Does a schema that somebody else wrote add up?

Everything is checked before a byte is allocated. Must not trust a number.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from checkpointheal.contract.layout import Outer, Schema
from checkpointheal.errors import BadFrame
from checkpointheal.manifest.dtypes import BY_NAME
from checkpointheal.manifest.growing import Giver, grow
from checkpointheal.manifest.reach import is_countable, reach

TENSOR_LIMIT = 1_000_000


def check(schema: Schema, value_count: int) -> None:
    """Raise BadFrame that names what is wrong: dtypes, ranges, strides, regions, or a tree with other leaves."""
    if max(len(schema.tensors), len(schema.regions), len(schema.forms)) > TENSOR_LIMIT:
        raise BadFrame(f"the schema has more than {TENSOR_LIMIT} tensors, forms or regions")
    _check_regions(schema)
    _check_tensors(schema)
    _check_tree(schema, value_count)


def _check_regions(schema: Schema) -> None:
    regions = schema.regions
    if len(regions.dtypes) != len(regions.nbytes):
        raise BadFrame(f"{len(regions.dtypes)} regions have a dtype, {len(regions.nbytes)} have a length")
    if regions.end != schema.data_bytes:
        raise BadFrame(f"the regions end at byte {regions.end}, the data section at {schema.data_bytes}")


def _check_tensors(schema: Schema) -> None:
    columns = schema.tensors
    if len({len(columns.paths), len(columns.forms), len(columns.regions), len(columns.offsets)}) > 1:
        raise BadFrame("the columns that describe the tensors have different lengths")
    if max(columns.regions, default=-1) >= len(schema.regions):
        at = next(at for at, region in enumerate(columns.regions) if region >= len(schema.regions))
        raise BadFrame(f"{columns.paths[at]} lies in region {columns.regions[at]} of {len(schema.regions)}")
    lengths = map(schema.regions.nbytes.__getitem__, columns.regions)
    lying = dict(zip(zip(columns.forms, columns.offsets, lengths, strict=True), columns.paths, strict=True))
    measured: dict[int, tuple[int, int]] = {}
    for (number, offset, length), path in lying.items():  # few, where tensors are very many
        size, reaches = measured.get(number) or measured.setdefault(number, _measured(schema, path, number))
        if offset + reaches > length:
            raise BadFrame(f"{path} reaches past the end of its region")
        if offset % size:  # a region is aligned for every dtype
            raise BadFrame(f"{path} is not aligned to its elements of {size} bytes")


def _measured(schema: Schema, path: str, number: int) -> tuple[int, int]:
    """Bytes of an element of this form, and of what a tensor of it reaches: each form is checked once."""
    if number >= len(schema.forms):
        raise BadFrame(f"{path} has form {number} of {len(schema.forms)}")
    form = schema.forms[number]
    dtype = BY_NAME.get(form.dtype)
    if dtype is None:
        raise BadFrame(f"{path} has dtype {form.dtype!r}, which this build does not know")
    if len(form.shape) != len(form.stride):
        raise BadFrame(f"{path} has {len(form.shape)} dimensions and {len(form.stride)} strides")
    if not is_countable(form.shape, form.stride):
        raise BadFrame(f"{path} has more elements than torch can count")
    if form.requires_grad and not (dtype.is_floating_point or dtype.is_complex):
        raise BadFrame(f"{path} needs gradients, which no {form.dtype} can have")
    return dtype.itemsize, reach(form)


def _check_tree(schema: Schema, value_count: int) -> None:
    found = _Found(len(schema.tensors))
    grow(schema.tree, found)
    if sorted(found.tensors) != list(range(len(schema.tensors))):
        raise BadFrame(f"the tree names {len(found.tensors)} tensors, the schema describes {len(schema.tensors)}")
    if sorted(found.plain) != list(range(value_count)) or len(schema.value_paths) != value_count:
        raise BadFrame(f"the tree names {len(found.plain)} values of {len(schema.value_paths)}, and {value_count} came")


class _Found(Giver):
    """Counts the leaves, and makes nothing: a class need not be known to who only keeps the state."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.tensors: list[int] = []
        self.plain: list[int] = []

    def tensor(self, index: int) -> Any:
        self.tensors.append(index)

    def run(self, first: int, count: int) -> Sequence[Any]:
        if len(self.tensors) + count > self._count:
            raise BadFrame(f"the tree names {len(self.tensors) + count} tensors, the schema describes {self._count}")
        self.tensors.extend(range(first, first + count))
        return [None] * count

    def value(self, index: int) -> Any:
        self.plain.append(index)

    def thing(self, name: str, parts: Any, path: str) -> Any:
        return name, str(parts)

    def wrapper(self, name: str, context: Any, inner: Mapping[str, Any], outer: Outer, path: str) -> Any:
        """Made later."""
