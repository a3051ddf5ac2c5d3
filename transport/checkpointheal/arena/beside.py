"""How much room is left beside the slots, and what would do where it is not enough?

Private parts and seals lie there, each put in place whole while the one before it stays. Must not know what they say.
"""

from checkpointheal.arena.folder import Folder
from checkpointheal.errors import ArenaDoesNotFit

SPARE_BYTES = 4 << 20
"""Left free at least, where slots are laid."""
UNIT = 64 << 10
"""A part may grow by as much before there must be more room; as much again is its seal's."""
_SLOT = ".safetensors"


def part_bytes(length: int) -> int:
    """What `reserve` must be told for private parts of this length: it grows seldom, and holds a seal besides."""
    return (-(-length // UNIT) + 1) * UNIT


def spare_bytes(slots: int, part: int, *, at_least: int = SPARE_BYTES) -> int:
    """For a part beside each sealed generation, one that the epoch began with and one that is being written."""
    return max(at_least, (slots + 2) * part)


def publish(folder: Folder, name: str, content: bytes, temporary: str) -> None:
    """As the folder does. Raises ArenaDoesNotFit, naming the size of an arena that would do, and SlotDamaged."""
    try:
        folder.publish(name, content, temporary)
    except ArenaDoesNotFit as error:
        slots = sum(each.endswith(_SLOT) for each in folder.names())
        wanted = used_bytes(folder) + spare_bytes(slots, part_bytes(len(content)))
        raise ArenaDoesNotFit(f"{error}: give its volume more memory", arena_bytes=wanted) from error


def used_bytes(folder: Folder) -> int:
    """Memory behind all that lies there."""
    found = (folder.stat(name) for name in folder.names())
    return sum(each.st_blocks * 512 for each in found if each)
