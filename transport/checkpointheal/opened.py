"""`checkpointheal open DIR`: which training state lies in an arena, and is it whole?

Reads beside a running trainer and agent, pins nothing and changes nothing. `load` gives the real state dict. Must not
know jobs or operators.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from checkpointheal import digest
from checkpointheal.arena import Arena, Reading
from checkpointheal.contract.base import Count, Digest, Epoch, Frozen, Step
from checkpointheal.contract.layout import Schema
from checkpointheal.errors import (
    BadFrame,
    BytesDiffer,
    CheckpointHealError,
    NoArena,
    NotSealed,
    SlotDamaged,
    UnknownVersion,
)
from checkpointheal.manifest import rebuild
from checkpointheal.manifest.check import check
from checkpointheal.manifest.dtypes import BY_NAME

FAILED = 1
TRIES, PAUSE = 20, 0.05
"""How often, and how many seconds later, a slot is read again that a trainer was overwriting meanwhile."""
_FIRST_SLOT = "slot-0.safetensors"
_Read = TypeVar("_Read")


class Tensor(Frozen):
    """One tensor of a generation."""

    path: str
    dtype: str
    shape: tuple[Count, ...]
    bytes: Count
    tied_to: str | None


class Sealed(Frozen):
    """One generation, read through."""

    slot: Count
    step: Step
    epoch: Epoch
    job: str
    member: str
    incarnation: str
    bytes: Count
    private: bool
    state_digest: Digest
    tensors: tuple[Tensor, ...]


class Damaged(Frozen):
    """A slot that cannot be believed."""

    slot: Count
    reason: str
    message: str


class Found(Frozen):
    """What lies in an arena; the newest generation first."""

    arena: str
    sealed: tuple[Sealed, ...]
    damaged: tuple[Damaged, ...]


def load(directory: str | Path, slot: int | None = None) -> dict[str, Any]:
    """The state dict in a slot, by default the newest: `{part: state_dict}`, tensors on the CPU, in their own memory.

    Objects come back as their classes where those were registered. Raises NoArena, NotSealed where nothing is sealed,
    UnknownClass, SlotDamaged or BytesDiffer where the bytes are not those that were sealed.
    """
    return _read_whole(Arena.open(find_arena(Path(directory))), slot, _state_of)


def look(directory: Path) -> Found:
    """Read every generation through. Raises NoArena."""
    arena = Arena.open(directory)
    sealed: list[Sealed] = []
    damaged: dict[int, CheckpointHealError] = arena.damaged()
    for slot in arena.seals():
        try:
            sealed.append(_read_whole(arena, slot, lambda reading: _facts_of(reading, arena.private_steps())))
        except (NotSealed, SlotDamaged, UnknownVersion, BytesDiffer, BadFrame) as error:
            damaged[slot] = error
    return Found(
        arena=str(directory),
        sealed=tuple(sorted(sealed, key=lambda each: -each.step)),
        damaged=tuple(Damaged(slot=s, reason=e.reason, message=str(e)) for s, e in sorted(damaged.items())),
    )


def find_arena(directory: Path) -> Path:
    """The arena that is meant: the directory itself, or the only one right under it. Raises NoArena."""
    if not directory.is_dir():
        raise NoArena(f"{directory} is no directory")
    if (directory / _FIRST_SLOT).exists():
        return directory
    under = sorted(place.parent for place in directory.glob(f"*/{_FIRST_SLOT}"))
    if not under:
        raise NoArena(f"there is no arena in {directory}: it has no {_FIRST_SLOT}, nor has a folder in it")
    if len(under) > 1:
        raise NoArena(f"{directory} holds {len(under)} arenas, name one: {', '.join(place.name for place in under)}")
    return under[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Show what lies there; 1 unless something is sealed and all of it whole, 2 for a bad command line."""
    asked = parser().parse_args(argv)
    try:
        found = look(find_arena(asked.directory))
    except CheckpointHealError as error:
        sys.stderr.write(f"checkpointheal open: {error}\n")
        return FAILED
    if asked.slot is not None:
        found = _only(found, asked.slot)
    sys.stdout.write((found.model_dump_json(indent=2) if asked.json else _told(found, asked.slot)) + "\n")
    return 0 if found.sealed and not found.damaged else FAILED


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="checkpointheal open",
        description="Show the training state that lies in an arena, and prove that it is whole.",
        epilog="In Python: from checkpointheal import opened; opened.load(DIR) is the state dict. Exit status 1: "
        "nothing is sealed there, or a slot is damaged, though another one be whole.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="an arena, or the folder that holds one")
    parser.add_argument(
        "--slot", type=int, metavar="N", help="only this slot; by default the newest one's tensors are shown"
    )
    parser.add_argument("--json", action="store_true", help="the same, and every tensor, as one JSON object")
    return parser


def _read_whole(arena: Arena, slot: int | None, read: Callable[[Reading], _Read]) -> _Read:
    """What `read` makes of a generation that stayed sealed meanwhile; again, where a trainer was overwriting it."""
    for tried in range(TRIES):
        try:
            with arena.read(_newest(arena) if slot is None else slot, pin=False) as reading:
                return _still_whole(reading, read)
        except NotSealed:
            if tried == TRIES - 1 or not arena.seals():
                raise
            time.sleep(PAUSE)
    raise NotSealed("no generation was read")


def _still_whole(reading: Reading, read: Callable[[Reading], _Read]) -> _Read:
    try:
        result = read(reading)
    except (SlotDamaged, BytesDiffer, BadFrame):
        if reading.still_sealed():
            raise
    else:
        if reading.still_sealed():
            return result
    raise NotSealed(f"slot {reading.slot} was overwritten while it was being read")


def _newest(arena: Arena) -> int:
    seals = arena.seals()
    if not seals:
        damaged = "; ".join(str(error) for error in arena.damaged().values())
        raise NotSealed(
            f"nothing whole is sealed in this arena: {damaged}" if damaged else "nothing is sealed here yet"
        )
    return max(seals, key=lambda each: seals[each].step)


def _state_of(reading: Reading) -> dict[str, Any]:
    data = bytearray()
    for chunk in reading.chunks(digest.CHUNK_BYTES):
        data += chunk  # what is there, not what a seal claims
    _digest_of(reading, digest.chunk_digests(data))
    state = rebuild(reading.schema, reading.seal.values, data)
    if not isinstance(state, dict):
        raise SlotDamaged(f"slot {reading.slot} holds no state dict")
    return state


def _facts_of(reading: Reading, private_steps: Sequence[int]) -> Sealed:
    check(reading.schema, len(reading.seal.values))
    seal = reading.seal
    return Sealed(
        slot=reading.slot,
        step=seal.step,
        epoch=seal.epoch,
        job=seal.job,
        member=str(seal.member),
        incarnation=seal.incarnation,
        bytes=seal.data_bytes,
        private=seal.step in private_steps,
        state_digest=_digest_of(reading, [digest.digest_bytes(chunk) for chunk in reading.chunks(digest.CHUNK_BYTES)]),
        tensors=tuple(_tensors_of(reading.schema)),
    )


def _digest_of(reading: Reading, chunk_digests: Sequence[Digest]) -> Digest:
    seal = reading.seal
    found = digest.state_digest(seal.schema_digest, seal.values, chunk_digests)
    if seal.state_digest not in (None, found):
        raise BytesDiffer(f"slot {reading.slot} holds state {found}, but {seal.state_digest} was sealed")
    return found


def _tensors_of(schema: Schema) -> Iterator[Tensor]:
    first: dict[tuple[object, ...], str] = {}
    for entry in schema.each_tensor:
        view = entry.region, entry.offset, entry.shape, entry.stride, entry.dtype  # a region holds what adjoins, too
        tied_to = first.setdefault(view, entry.path)
        yield Tensor(
            path=entry.path,
            dtype=entry.dtype,
            shape=entry.shape,
            bytes=math.prod(entry.shape) * BY_NAME[entry.dtype].itemsize,
            tied_to=tied_to if tied_to != entry.path else None,
        )


def _only(found: Found, slot: int) -> Found:
    return found.but(
        sealed=tuple(each for each in found.sealed if each.slot == slot),
        damaged=tuple(each for each in found.damaged if each.slot == slot),
    )


def _told(found: Found, slot: int | None) -> str:
    lines = [found.arena]
    for each in found.sealed:
        private = "with its private part" if each.private else "without a private part"
        lines.append(
            f"  slot {each.slot}: step {each.step} of epoch {each.epoch}, {each.job} {each.member}, "
            f"{len(each.tensors)} tensors, {each.bytes / 1e6:.1f} MB, {private}, digest {each.state_digest}"
        )
    lines += [f"  slot {each.slot}: {each.reason}: {each.message}" for each in found.damaged]
    if not found.sealed and not found.damaged:
        lines.append("  nothing is sealed here yet" if slot is None else f"  slot {slot} holds no sealed generation")
    for each in found.sealed if slot is not None else found.sealed[:1]:
        lines += ["", f"  step {each.step}:", *_table(each.tensors)]
    return "\n".join(lines)


def _table(tensors: Sequence[Tensor]) -> list[str]:
    width = max((len(each.path) for each in tensors), default=0)
    return [
        f"    {each.path:<{width}}  {each.dtype:<10} {list(each.shape)!s:<20} {each.bytes:>12,} bytes"
        + (f"  is {each.tied_to}" if each.tied_to else "")
        for each in tensors
    ]
