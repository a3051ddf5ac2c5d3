"""How does a generation get into a slot, so that it is there whole or not at all?

The order is the proof: lock, remove the seal, write, rename a seal into place, unlock. A kill between any two of these
leaves the old generation sealed and untouched, or none. Must not know whose state it is.
"""

import errno
import mmap
import os
import weakref

from checkpointheal.arena import header
from checkpointheal.arena.folder import Folder, Lock
from checkpointheal.arena.room import allocated
from checkpointheal.arena.seals import seal_name, slot_name, write_seal
from checkpointheal.contract.layout import Schema
from checkpointheal.contract.seal import Seal
from checkpointheal.errors import ArenaDoesNotFit, Misuse, SlotDamaged

_POPULATE_WRITE = 23
"""Linux's MADV_POPULATE_WRITE (5.14), which `mmap` has no name for."""


class WritableSlot:
    """One slot's lock and mapping, kept from commit to commit: its pages are mapped once."""

    def __init__(self, folder: Folder, number: int) -> None:
        self.folder, self.number = folder, number
        self._taken = False
        self._lock: Lock | None = None
        self._mapping: mmap.mmap | None = None
        self._mapped: os.stat_result | None = None
        self._header: header.Header | None = None

    def take(self) -> bool:
        """Lock it for writing; False where somebody reads or writes it. Raises SlotDamaged, ArenaDoesNotFit."""
        if self._taken:
            return False  # by this very process, whose own lock would not stop it
        found = self.folder.stat(slot_name(self.number))
        if found is None:
            raise ArenaDoesNotFit(
                f"slot {self.number} of {self.folder.path} is not there: reserve() has not been called"
            )
        if self._lock is None or self._mapped is None or not os.path.samestat(found, self._mapped):
            self._open()
        if self._lock is None or not self._lock.take():
            return False
        try:
            self._map()
        except BaseException:
            self._lock.release()
            raise
        self._taken = True
        return True

    def release(self) -> None:
        """Unlock it."""
        self._taken = False
        if self._lock is not None:
            self._lock.release()

    def lay_out(self, schema: Schema) -> header.Header:
        """The schema's header; the same object as long as the schema is the same."""
        if self._header is None or (self._header.schema is not schema and self._header.schema != schema):
            self._header = header.lay_out(schema)
        return self._header

    @property
    def mapping(self) -> mmap.mmap:
        """The whole slot."""
        if self._mapping is None:
            raise Misuse(f"slot {self.number} is not taken")
        return self._mapping

    def _open(self) -> None:
        if self._lock is not None:
            self._lock.close()
        self._lock = self._mapping = None
        self._lock = Lock(self.folder.open(slot_name(self.number)))
        self._mapped = os.fstat(self._lock.fd)

    def _map(self) -> None:
        fd = self.folder.open(slot_name(self.number), os.O_RDWR)
        try:
            found = os.fstat(fd)
            if self._mapped is None or not os.path.samestat(found, self._mapped):
                raise SlotDamaged(f"slot {self.number} was replaced while it was being taken")
            if found.st_size == 0 or allocated(found) < found.st_size:
                raise ArenaDoesNotFit(
                    f"slot {self.number} has memory for {allocated(found)} of its {found.st_size} bytes: "
                    "reserve() it first"
                )
            if self._mapping is None or len(self._mapping) != found.st_size:
                self._mapping = mmap.mmap(fd, found.st_size)
                _populate(self._mapping)
        finally:
            os.close(fd)


class Writing:
    """A generation on its way into a slot. End it with `seal` or `abandon`; a killed process abandons."""

    def __init__(self, slot: WritableSlot) -> None:
        self._slot = slot
        self._release = weakref.finalize(self, slot.release)
        self._prepared: header.Header | None = None
        self.slot = slot.number
        self.data = memoryview(b"")

    @property
    def header_bytes(self) -> int:
        """Where the data section starts in the file; 0 before `prepare`."""
        return 0 if self._prepared is None else self._prepared.header_bytes

    def prepare(self, schema: Schema) -> memoryview:
        """Make the slot ready for this schema and return its data section, writable; the same as `.data`.

        From here on the slot's former generation is gone. What the data section held stays, so that a broken transfer
        can be resumed. Raises ArenaDoesNotFit (nothing is lost then) where the slot is too small.
        """
        self._require_open()
        laid_out = self._slot.lay_out(schema)
        mapping = self._slot.mapping
        if laid_out.slot_bytes > len(mapping):
            raise ArenaDoesNotFit(
                f"slot {self.slot} has {len(mapping)} bytes, the state needs {laid_out.slot_bytes}: reserve() that many"
            )
        self._slot.folder.remove(seal_name(self.slot))
        _head(mapping, laid_out)
        self._prepared = laid_out
        self.data = memoryview(mapping)[laid_out.header_bytes : laid_out.slot_bytes]
        return self.data

    def seal(self, seal: Seal) -> None:
        """The bytes are whole: say so. Raises Misuse where the seal speaks of other bytes, ArenaDoesNotFit."""
        self._require_open()
        if self._prepared is None or (seal.header_bytes, seal.data_bytes) != (self.header_bytes, len(self.data)):
            raise Misuse(
                f"the seal speaks of {seal.header_bytes} + {seal.data_bytes} bytes, slot {self.slot} was prepared for "
                f"{self.header_bytes} + {len(self.data)}"
            )
        write_seal(self._slot.folder, self.slot, seal)
        self.abandon()

    def abandon(self) -> None:
        """Let the slot go; without a seal, unless `seal` came first."""
        self.data = memoryview(b"")
        self._release()

    def _require_open(self) -> None:
        if not self._release.alive:
            raise Misuse(f"this writing of slot {self.slot} has ended: begin() another")


def _head(mapping: mmap.mmap, laid_out: header.Header) -> None:
    raw = laid_out.render(len(mapping))
    if mapping[: len(raw)] == raw:
        return
    # Gaps first: if this process is killed here, the next one finds another header and clears them again.
    for gap in header.gaps(laid_out.schema):
        start, end = laid_out.header_bytes + gap.start, laid_out.header_bytes + gap.end
        mapping[start:end] = bytes(end - start)
    mapping[: len(raw)] = raw


def _populate(mapping: mmap.mmap) -> None:
    try:
        mapping.madvise(_POPULATE_WRITE)
    except OSError as error:
        # An older kernel does not know the word; pages are then mapped one by one during the first commit.
        if error.errno != errno.EINVAL:
            raise ArenaDoesNotFit(f"a slot of {len(mapping)} bytes cannot be mapped: {error.strerror}") from error
