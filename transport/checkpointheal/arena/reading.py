"""How is a sealed generation read while others may want to write?

A pinned reading holds a shared lock, so no writer takes the slot. An unpinned one takes what it gets and asks
`still_sealed` afterwards. Must not know what the bytes mean.
"""

import mmap
import os
from collections.abc import Iterator
from functools import cached_property
from types import TracebackType
from typing import Self

from checkpointheal import digest
from checkpointheal.arena import header
from checkpointheal.arena.folder import Folder, Lock
from checkpointheal.arena.seals import SealHeldOpen, slot_name
from checkpointheal.contract.layout import Schema
from checkpointheal.contract.seal import Seal
from checkpointheal.errors import NotSealed, SlotDamaged


class Reading:
    """One sealed generation, open. A context manager; the pin ends with it."""

    def __init__(self, folder: Folder, slot: int, *, pin: bool) -> None:
        """Raises NotSealed, SlotDamaged or UnknownVersion."""
        self.slot, self._folder = slot, folder
        self._file = Lock(_open_slot(folder, slot))
        try:
            if pin and not self._file.take(shared=True):
                raise NotSealed(f"slot {slot} is being written")
            self._held = SealHeldOpen(folder, slot)
        except BaseException:
            self._file.close()
            raise

    @property
    def seal(self) -> Seal:
        """Whose generation it is, of which step, and its plain values."""
        return self._held.seal

    @cached_property
    def schema(self) -> Schema:
        """What the data section holds. Raises SlotDamaged where it is not the schema of the seal."""
        if self.seal.header_bytes > header.HEADER_LIMIT:
            raise SlotDamaged(f"slot {self.slot} claims a header of {self.seal.header_bytes} bytes")
        raw = bytearray(self.seal.header_bytes)
        self._read_into(memoryview(raw), 0)
        schema = header.parse(bytes(raw))
        if schema.data_bytes != self.seal.data_bytes or digest.schema_digest(schema) != self.seal.schema_digest:
            raise SlotDamaged(f"the header of slot {self.slot} holds another schema than its seal names")
        return schema

    @cached_property
    def data(self) -> memoryview:
        """The data section, mapped read-only. A process that must survive a file cut short uses `chunks` instead."""
        end = self.seal.header_bytes + self.seal.data_bytes
        # A descriptor of its own: an mmap keeps a duplicate, which would keep the pin, in forked children too.
        fd = _open_slot(self._folder, self.slot)
        try:
            if not os.path.samestat(os.fstat(fd), os.fstat(self._file.fd)):
                raise SlotDamaged(f"slot {self.slot} was replaced while it was being read")
            return memoryview(mmap.mmap(fd, end, prot=mmap.PROT_READ))[self.seal.header_bytes :]
        except ValueError as error:
            raise SlotDamaged(f"slot {self.slot} cannot be mapped: {error}") from error
        finally:
            os.close(fd)

    def chunks(self, chunk_bytes: int) -> Iterator[memoryview]:
        """The data section piece by piece, each valid until the next. Raises SlotDamaged where it ends too early."""
        buffer = memoryview(bytearray(min(chunk_bytes, self.seal.data_bytes)))
        for start in range(0, self.seal.data_bytes, chunk_bytes):
            piece = buffer[: self.seal.data_bytes - start]
            self._read_into(piece, self.seal.header_bytes + start)
            yield piece

    def still_sealed(self) -> bool:
        """Whether everything read so far is the sealed generation: no writer has taken the slot since."""
        return self._held.is_in_place()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the slot go."""
        self._held.close()
        self._file.close()

    def _read_into(self, piece: memoryview, offset: int) -> None:
        while piece:
            count = os.preadv(self._file.fd, [piece], offset)
            if count == 0:
                raise SlotDamaged(f"slot {self.slot} ends at byte {offset}, before its seal says so")
            piece, offset = piece[count:], offset + count


def _open_slot(folder: Folder, slot: int) -> int:
    try:
        return folder.open(slot_name(slot))
    except FileNotFoundError as error:
        raise NotSealed(f"slot {slot} does not exist") from error
