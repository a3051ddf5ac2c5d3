"""How does a schema become the header of a safetensors file, and come back from one?

    8 bytes      length of the JSON, little-endian
    JSON         one entry per region, one per gap, our schema as metadata; spaces up to a multiple of 4096
    data section regions as the schema lays them, zeros between
    pad.end      what the slot has more than this schema needs

safetensors wants every byte of the file named, hence the padding entries. Must not know files.
"""

import json
from collections.abc import Iterator
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from checkpointheal.contract.layout import Region, Schema
from checkpointheal.errors import Misuse, SlotDamaged

PAGE = 4096
"""The data section starts at a multiple of this, so that it can be mapped by itself."""
HEADER_LIMIT = 100_000_000
"""safetensors reads no longer header."""
METADATA_KEY = "checkpointheal"
_TAIL_ROOM = 128
"""Left for `pad.end`, whose text depends on the slot: so the header's length depends on the schema alone."""
_ITEM_BYTES = {
    **dict.fromkeys(("U8", "I8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}

Entry = dict[str, object]


class Gap(NamedTuple):
    """Bytes of the data section that belong to no region, after region `after - 1`."""

    after: int
    start: int
    end: int


class Header(NamedTuple):
    """A schema, laid out."""

    schema: Schema
    entries: str
    header_bytes: int

    @property
    def slot_bytes(self) -> int:
        """Smallest slot that holds header and data section."""
        return self.header_bytes + self.schema.data_bytes

    def render(self, slot_bytes: int) -> bytes:
        """The first `header_bytes` bytes of a slot of this size."""
        tail = Gap(0, self.schema.data_bytes, slot_bytes - self.header_bytes)
        end = f',"pad.end":{_dump(_padding(tail))}' if tail.end > tail.start else ""
        text = f"{{{self.entries}{end}}}".encode()
        length = self.header_bytes - 8
        return length.to_bytes(8, "little") + text.ljust(length)


def lay_out(schema: Schema) -> Header:
    """Name every byte of the data section. Raises Misuse where regions overlap, or the header would be too long."""
    entries: Entry = {"__metadata__": {METADATA_KEY: _dump(schema.model_dump(mode="json"))}}
    entries |= {f"region.{index:04d}": _entry(region) for index, region in enumerate(schema.each_region)}
    entries |= {f"pad.{gap.after:04d}": _padding(gap) for gap in gaps(schema)}
    text = _dump(entries)[1:-1]
    header_bytes = round_up(8 + len(text.encode()) + _TAIL_ROOM)
    if header_bytes > HEADER_LIMIT:
        raise Misuse(f"the schema takes {header_bytes} bytes, more than the {HEADER_LIMIT} of a header: merge tensors")
    return Header(schema, text, header_bytes)


def gaps(schema: Schema) -> Iterator[Gap]:
    """The padding of the data section. Raises Misuse where regions overlap or leave it."""
    position = 0
    for index, region in enumerate((*schema.each_region, Region(dtype="U8", offset=schema.data_bytes, nbytes=0))):
        if region.offset < position:
            raise Misuse(f"region {index} starts at byte {region.offset}, but {position} bytes lie before it")
        if region.offset > position:
            yield Gap(index, position, region.offset)
        position = region.offset + region.nbytes


def parse(raw: bytes) -> Schema:
    """The schema in a slot's header (length included). Raises SlotDamaged; survives any bytes."""
    try:
        metadata = from_json(raw[8:])["__metadata__"][METADATA_KEY]
        return Schema.model_validate_json(metadata)
    except (ValueError, TypeError, KeyError) as error:
        why = f"{error.error_count()} fields do not fit" if isinstance(error, ValidationError) else str(error)
        raise SlotDamaged(f"a slot's header holds no schema: {why}") from error


def round_up(count: int) -> int:
    """So many bytes in whole pages."""
    return -(-count // PAGE) * PAGE


def _entry(region: Region) -> Entry:
    size = _ITEM_BYTES.get(region.dtype, 0)
    known = size > 0 and region.nbytes % size == 0
    return {
        "dtype": region.dtype if known else "U8",
        "shape": [region.nbytes // size if known else region.nbytes],
        "data_offsets": [region.offset, region.offset + region.nbytes],
    }


def _padding(gap: Gap) -> Entry:
    return {"dtype": "U8", "shape": [gap.end - gap.start], "data_offsets": [gap.start, gap.end]}


def _dump(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
