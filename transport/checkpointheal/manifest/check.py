"""Does a schema that somebody else wrote add up?

Everything is checked before a byte is allocated. Must not trust a number.
"""

from collections.abc import Mapping
from typing import Any

from checkpointheal.contract.layout import ALIGNMENT, Outer, Schema, TensorEntry
from checkpointheal.errors import BadFrame
from checkpointheal.manifest.dtypes import BY_NAME
from checkpointheal.manifest.growing import Giver, grow
from checkpointheal.manifest.reach import is_countable, reach

TENSOR_LIMIT = 1_000_000


def check(schema: Schema, value_count: int) -> None:
    """Raise BadFrame that names what is wrong: dtypes, ranges, strides, regions, or a tree with other leaves."""
    if len(schema.tensors) > TENSOR_LIMIT or len(schema.regions) > TENSOR_LIMIT:
        raise BadFrame(f"the schema has more than {TENSOR_LIMIT} tensors or regions")
    _check_regions(schema)
    for entry in schema.tensors:
        _check_entry(schema, entry)
    _check_tree(schema, value_count)


def _check_regions(schema: Schema) -> None:
    end = 0
    for index, region in enumerate(schema.regions):
        expected = end + -end % ALIGNMENT
        if region.offset != expected:
            raise BadFrame(f"region {index} begins at byte {region.offset}, its place is {expected}")
        end = region.offset + region.nbytes
    if end != schema.data_bytes:
        raise BadFrame(f"the regions end at byte {end}, the data section at {schema.data_bytes}")


def _check_entry(schema: Schema, entry: TensorEntry) -> None:
    dtype = BY_NAME.get(entry.dtype)
    if dtype is None:
        raise BadFrame(f"{entry.path} has dtype {entry.dtype!r}, which this build does not know")
    if entry.region >= len(schema.regions):
        raise BadFrame(f"{entry.path} lies in region {entry.region} of {len(schema.regions)}")
    if len(entry.shape) != len(entry.stride):
        raise BadFrame(f"{entry.path} has {len(entry.shape)} dimensions and {len(entry.stride)} strides")
    if not is_countable(entry.shape, entry.stride):
        raise BadFrame(f"{entry.path} has more elements than torch can count")
    if entry.requires_grad and not (dtype.is_floating_point or dtype.is_complex):
        raise BadFrame(f"{entry.path} needs gradients, which no {entry.dtype} can have")
    region = schema.regions[entry.region]
    if entry.offset + reach(entry) > region.nbytes:
        raise BadFrame(f"{entry.path} reaches past the end of its region")
    if (region.offset + entry.offset) % dtype.itemsize:
        raise BadFrame(f"{entry.path} is not aligned to its elements of {dtype.itemsize} bytes")


def _check_tree(schema: Schema, value_count: int) -> None:
    found = _Found()
    grow(schema.tree, found)
    if sorted(found.tensors) != list(range(len(schema.tensors))):
        raise BadFrame(f"the tree names {len(found.tensors)} tensors, the schema describes {len(schema.tensors)}")
    if sorted(found.plain) != list(range(value_count)) or len(schema.value_paths) != value_count:
        raise BadFrame(f"the tree names {len(found.plain)} values of {len(schema.value_paths)}, and {value_count} came")


class _Found(Giver):
    """Counts the leaves, and makes nothing: a class need not be known to who only keeps the state."""

    def __init__(self) -> None:
        self.tensors: list[int] = []
        self.plain: list[int] = []

    def tensor(self, index: int) -> Any:
        self.tensors.append(index)

    def value(self, index: int) -> Any:
        self.plain.append(index)

    def thing(self, name: str, parts: Any, path: str) -> Any:
        return name, str(parts)

    def wrapper(self, name: str, context: Any, inner: Mapping[str, Any], outer: Outer, path: str) -> Any:
        """Made later."""
