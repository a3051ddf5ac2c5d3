"""What does a slot's seal say, and may it be believed?

A seal is written by another process, perhaps of another version: whatever its file holds, the answer is a Seal or a
reason. Must not know how a slot is written.
"""

import os

from pydantic import ValidationError
from pydantic_core import from_json

from checkpointheal.arena.beside import publish
from checkpointheal.arena.folder import Folder
from checkpointheal.contract.seal import ARENA_FORMAT, Seal
from checkpointheal.errors import Misuse, NotSealed, SlotDamaged, UnknownVersion

SEAL_LIMIT = 16 << 20


def slot_name(slot: int) -> str:
    """The data file of a slot."""
    return f"slot-{slot}.safetensors"


def seal_name(slot: int) -> str:
    """The seal of a slot."""
    return f"slot-{slot}.seal.json"


def read_seal(folder: Folder, slot: int) -> Seal:
    """Raises NotSealed, SlotDamaged or UnknownVersion."""
    content = folder.read(seal_name(slot), SEAL_LIMIT)
    if content is None:
        raise NotSealed(f"slot {slot} holds no sealed generation")
    seal = parse_seal(content, slot)
    found = folder.stat(slot_name(slot))
    if found is None or found.st_size < seal.header_bytes + seal.data_bytes:
        held = 0 if found is None else found.st_size
        raise SlotDamaged(
            f"slot {slot} has {held} bytes, but its seal promises {seal.header_bytes + seal.data_bytes}: it was cut"
        )
    return seal


def parse_seal(content: bytes, slot: int) -> Seal:
    """Raises SlotDamaged, or UnknownVersion for a seal of another format."""
    try:
        raw = from_json(content)
        if isinstance(raw, dict) and raw.get("format", ARENA_FORMAT) != ARENA_FORMAT:
            raise UnknownVersion(
                f"slot {slot} is of arena format {str(raw['format'])[:20]}, this build reads {ARENA_FORMAT}: "
                "use the build that wrote it"
            )
        return Seal.model_validate_json(content)
    except ValidationError as error:
        named = ", ".join(
            ".".join(map(str, found["loc"])) or "the whole"
            for found in error.errors(include_input=False, include_url=False)[:4]
        )
        raise SlotDamaged(f"the seal of slot {slot} is not a seal: {named[:200]} does not fit") from error
    except ValueError as error:
        raise SlotDamaged(f"the seal of slot {slot} is not JSON: {error}") from error


def write_seal(folder: Folder, slot: int, seal: Seal) -> None:
    """Put it in place, whole. Only for who holds the slot's lock: it makes the temporary name safe."""
    content = seal.model_dump_json().encode()
    if len(content) > SEAL_LIMIT:
        raise Misuse(f"the plain values of step {seal.step} take {len(content)} bytes, over {SEAL_LIMIT}: use tensors")
    publish(folder, seal_name(slot), content, f"{seal_name(slot)}.tmp")


class SealHeldOpen:
    """A seal as it was when a reading began.

    Its file stays open, so its inode number cannot come back under another seal: the same file under the same name is
    the same seal, even where a later one says the same words.
    """

    def __init__(self, folder: Folder, slot: int) -> None:
        """Raises NotSealed, SlotDamaged or UnknownVersion."""
        self._folder, self._name = folder, seal_name(slot)
        try:
            self._fd = folder.open(self._name)
        except FileNotFoundError as error:
            raise NotSealed(f"slot {slot} holds no sealed generation") from error
        try:
            self.seal = read_seal(folder, slot)
            if not self.is_in_place():
                raise NotSealed(f"slot {slot} was taken for a newer generation at this moment")
        except BaseException:
            os.close(self._fd)
            raise

    def is_in_place(self) -> bool:
        """Whether no writer has taken the slot since."""
        found = self._folder.stat(self._name)
        return found is not None and os.path.samestat(found, os.fstat(self._fd))

    def close(self) -> None:
        """Let it go."""
        os.close(self._fd)
