"""Schemas, seals and generations whose every byte says which step it is of."""

import subprocess
from collections.abc import Collection
from pathlib import Path

from checkpointheal import digest
from checkpointheal.arena import Arena, Reading, Writing
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.layout import Form, Regions, Schema, Tensors
from checkpointheal.contract.seal import Seal

TORCH_NAMES = {"F32": ("float32", 4), "BF16": ("bfloat16", 2), "U8": ("uint8", 1), "I64": ("int64", 8)}


def a_schema(*sizes: int, dtype: str = "F32", name: str = "w") -> Schema:
    """One tensor per size (in elements), each in a region of its own."""
    word, item = TORCH_NAMES[dtype]
    sizes = sizes or (3, 1000, 0, 17)
    forms = {count: Form(dtype=word, shape=(count,), stride=(1,)) for count in sizes}
    regions = Regions(dtypes=(dtype,) * len(sizes), nbytes=tuple(count * item for count in sizes))
    tensors = Tensors(
        paths=tuple(f"{name}{index}" for index in range(len(sizes))),
        forms=tuple(list(forms).index(count) for count in sizes),
        regions=tuple(range(len(sizes))),
        offsets=(0,) * len(sizes),
    )
    return Schema(
        tree={"D": [[path, {"T": index}] for index, path in enumerate(tensors.paths)]},
        forms=tuple(forms.values()),
        tensors=tensors,
        regions=regions,
        data_bytes=regions.end,
        value_paths=(),
    )


def pattern(schema: Schema, step: int) -> bytes:
    """A data section that no other step has: its regions, zeros between."""
    data = bytearray(schema.data_bytes)
    for region in schema.each_region:
        data[region.offset : region.offset + region.nbytes] = bytes([step % 251 + 1]) * region.nbytes
    return bytes(data)


def a_seal(schema: Schema, writing: Writing, step: int, **changes: object) -> Seal:
    """The seal that fits what was prepared."""
    seal = Seal(
        job="job",
        member=MemberId(replica=1, rank=0),
        incarnation="first",
        epoch=1,
        step=step,
        schema_digest=digest.schema_digest(schema),
        header_bytes=writing.header_bytes,
        data_bytes=schema.data_bytes,
        values=(step,),
    )
    return seal.model_copy(update=changes)


def fill(schema: Schema, writing: Writing, step: int) -> None:
    """Copy region by region, as a trainer does: padding is nobody's."""
    data, wanted = writing.prepare(schema), pattern(schema, step)
    for region in schema.each_region:
        data[region.offset : region.offset + region.nbytes] = wanted[region.offset : region.offset + region.nbytes]


def commit(arena: Arena, schema: Schema, step: int, keep: Collection[int] = ()) -> int | None:
    """One generation; its slot, or None where it was skipped."""
    writing = arena.begin(keep)
    if writing is None:
        return None
    fill(schema, writing, step)
    writing.seal(a_seal(schema, writing, step))
    return writing.slot


def an_arena(directory: Path, schema: Schema, slots: int = 2) -> Arena:
    """Reserved for the schema."""
    arena = Arena.create(directory, slots=slots)
    arena.reserve(Arena.slot_bytes(schema))
    return arena


def resize(medium: Path, size: int) -> None:
    """Of the memory file system that an arena lies in: as its volume would be made anew."""
    subprocess.run(["mount", "-o", f"remount,size={size}", medium], check=True)


def is_whole(reading: Reading) -> bool:
    """Whether its bytes are those of the step on its seal."""
    return bytes(reading.data) == pattern(reading.schema, reading.seal.step) and reading.still_sealed()
