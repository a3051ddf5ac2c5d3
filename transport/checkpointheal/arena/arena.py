"""Where do a member's generations lie, which may be overwritten, and who may write?

One directory in memory, shared by trainer and agent, each perhaps another user. Nothing here waits. Must not know
torch, nor what a step means.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Self

from checkpointheal.arena import beside, header, room
from checkpointheal.arena.folder import Folder, Lock
from checkpointheal.arena.reading import Reading
from checkpointheal.arena.seals import read_seal, seal_name, slot_name
from checkpointheal.arena.writing import WritableSlot, Writing
from checkpointheal.contract.base import MOST
from checkpointheal.contract.layout import Schema
from checkpointheal.contract.seal import Seal
from checkpointheal.errors import (
    AlreadyAttached,
    CheckpointHealError,
    Misuse,
    NoArena,
    NotSealed,
    PrivateStateTooLarge,
    SlotDamaged,
    UnknownVersion,
)

TRAINER_LOCK = "trainer.lock"
PRIVATE_LIMIT = 64 << 20
"""Bytes of one private part, unless the caller says less."""
_PRIVATE = re.compile(r"private-([0-9]{1,18})\.bin")
_PRIVATE_LEFTOVER = re.compile(r"private-[0-9]{1,18}\.[0-9a-f]{8}\.tmp")


class Arena:
    """The slots, the private parts and the trainer's lock of one member."""

    def __init__(self, folder: Folder, slots: int) -> None:
        """For `create` and `open` alone."""
        self._folder = folder
        self._slots = [WritableSlot(folder, number) for number in range(slots)]

    @classmethod
    def create(cls, directory: Path, *, slots: int = 2) -> Self:
        """The agent's way in: make what is missing, keep what is there, put aside what is no file.

        Raises NoArena, Misuse.
        """
        if slots < 2:
            raise Misuse(f"an arena of {slots} slots could hold no generation while it writes one: give it 2 or more")
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as error:
            raise NoArena(f"no arena can be made at {directory}: {error.strerror}") from error
        folder = Folder(directory)
        folder.admit_all()
        for name in (*map(slot_name, range(slots)), TRAINER_LOCK):
            folder.put_aside(name)
            folder.ensure(name)
        return cls(folder, _count_slots(folder))

    @classmethod
    def open(cls, directory: Path) -> Self:
        """The way in for everybody else; changes nothing. Raises NoArena for a missing or foreign directory."""
        folder = Folder(directory)
        slots = _count_slots(folder)
        if slots == 0:
            raise NoArena(f"{directory} is not an arena: it has no {slot_name(0)}")
        return cls(folder, slots)

    @staticmethod
    def slot_bytes(schema: Schema) -> int:
        """What `reserve` must be told for this schema."""
        return header.lay_out(schema).slot_bytes

    @staticmethod
    def part_bytes(length: int) -> int:
        """What `reserve` must be told for private parts of this length."""
        return beside.part_bytes(length)

    def reserve(self, slot_bytes: int, part_bytes: int = 0) -> None:
        """Give every slot this many bytes of memory, charged to this process. Grows only, keeps sealed generations.

        All slots or none, and none without room for private parts of `part_bytes` beside them. Raises ArenaDoesNotFit,
        naming what is needed and what there is.
        """
        room.reserve(self._folder, [slot_name(slot.number) for slot in self._slots], slot_bytes, part_bytes)

    @property
    def slots(self) -> int:
        """How many there are."""
        return len(self._slots)

    def seals(self) -> dict[int, Seal]:
        """The sealed generations, by slot. Damaged ones are left out: see `damaged`."""
        return {slot: found for slot, found in self._look() if isinstance(found, Seal)}

    def damaged(self) -> dict[int, CheckpointHealError]:
        """Slots with a seal that cannot be believed, and why: SlotDamaged or UnknownVersion."""
        return {slot: found for slot, found in self._look() if not isinstance(found, Seal | NotSealed)}

    def begin(self, keep: Collection[int] = ()) -> Writing | None:
        """Take an unsealed slot, else the one of the lowest step; never one in `keep` or one that somebody reads.

        None where none is free. The slot's generation stays until `Writing.prepare`. Raises ArenaDoesNotFit where slots
        were not reserved.
        """
        seals = self.seals()
        for number in sorted(range(len(self._slots)), key=lambda slot: seals[slot].step if slot in seals else -1):
            if number in keep:
                continue
            with contextlib.suppress(SlotDamaged):
                if self._slots[number].take():
                    return Writing(self._slots[number])
        return None

    def read(self, slot: int, *, pin: bool = True) -> Reading:
        """Open a sealed generation, pinned against writers unless `pin` is False. Raises NotSealed, SlotDamaged."""
        return Reading(self._folder, slot, pin=pin)

    def discard(self, slot: int) -> None:
        """Unseal a slot. Who reads it is told by `still_sealed`."""
        self._folder.remove(seal_name(slot))

    def write_private(self, step: int, blob: bytes, *, limit: int = PRIVATE_LIMIT) -> str:
        """Keep a private part; returns its file's name. Raises PrivateStateTooLarge, ArenaDoesNotFit."""
        if len(blob) > limit:
            raise PrivateStateTooLarge(
                f"the private part of step {step} has {len(blob)} bytes, over its limit of {limit}"
            )
        temporary = f"private-{step}.{secrets.token_hex(4)}.tmp"
        beside.publish(self._folder, _private_name(step), blob, temporary)
        return _private_name(step)

    def read_private(self, step: int, *, limit: int = PRIVATE_LIMIT) -> bytes | None:
        """A private part as it was written; None where there is none. Raises SlotDamaged over `limit` bytes."""
        return self._folder.read(_private_name(step), limit)

    def private_steps(self) -> tuple[int, ...]:
        """Steps whose private part lies here, ascending. A name that tells no step is nobody's."""
        found = filter(None, map(_PRIVATE.fullmatch, self._folder.names()))
        steps = {step for match in found if (step := int(match[1])) <= MOST and match[0] == _private_name(step)}
        return tuple(sorted(steps))

    def remove_private(self, steps: Iterable[int]) -> None:
        """Remove the private parts of these steps, of those that the caller saw: a newer one may come at any moment."""
        for step in steps:
            self._folder.remove(_private_name(step))

    def has_room_for_private(self) -> bool:
        """Whether one more part finds room, as large as the largest here and with its seal."""
        found = (self._folder.stat(_private_name(step)) for step in self.private_steps())
        largest = max((each.st_size for each in found if each), default=0)
        return room.medium_left(self._folder) >= beside.part_bytes(largest)

    @contextlib.contextmanager
    def hold_trainer_lock(self) -> Iterator[None]:
        """Be the only trainer here. Raises AlreadyAttached where another process is; its death frees the lock."""
        self._folder.ensure(TRAINER_LOCK)
        lock = Lock(self._folder.open(TRAINER_LOCK))
        try:
            if not lock.take():
                raise AlreadyAttached(f"another trainer is attached to {self._folder.path}: end it first")
            self._remove_leftovers()
            yield
        finally:
            lock.close()

    def _look(self) -> Iterator[tuple[int, Seal | CheckpointHealError]]:
        for slot in range(len(self._slots)):
            try:
                yield slot, read_seal(self._folder, slot)
            except (SlotDamaged, UnknownVersion) as error:
                yield slot, error

    def _remove_leftovers(self) -> None:
        """What the trainer before was writing when it was killed."""
        for name in filter(_PRIVATE_LEFTOVER.fullmatch, self._folder.names()):
            self._folder.remove(name)


def _count_slots(folder: Folder) -> int:
    names = set(folder.names())
    return next(count for count in range(len(names) + 1) if slot_name(count) not in names)


def _private_name(step: int) -> str:
    return f"private-{step}.bin"
