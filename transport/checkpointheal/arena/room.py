"""Do the slots fit, and whose memory are they?

The process that calls `reserve` is charged for every page: the agent, never the trainer. Nothing is begun that the file
system or the memory limit would stop halfway. Must not know what slots hold.
"""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from checkpointheal.arena.beside import SPARE_BYTES, spare_bytes, used_bytes
from checkpointheal.arena.folder import FULL, Folder
from checkpointheal.arena.header import round_up
from checkpointheal.errors import ArenaDoesNotFit

_CGROUPS = Path("/sys/fs/cgroup")
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"""Limit, use, and which of its pages can be dropped, as a control group calls them."""
_UNLIMITED = 1 << 62


def reserve(folder: Folder, names: list[str], slot_bytes: int, part_bytes: int = 0) -> None:
    """Give each of these files this many bytes of memory, all or none. Grows only; what they hold stays.

    Beside them there must be room for private parts, each of `part_bytes`. Raises ArenaDoesNotFit, before anything is
    changed where that can be known.
    """
    with ExitStack() as stack:
        fds = []
        for name in names:
            folder.ensure(name)
            fds.append(folder.open(name, os.O_RDWR))
            stack.callback(os.close, fds[-1])
        sizes = [os.fstat(fd).st_size for fd in fds]
        wanted = [max(size, round_up(slot_bytes)) for size in sizes]
        there = sum(allocated(os.fstat(fd)) for fd in fds)
        lacking = sum(max(0, want - allocated(os.fstat(fd))) for fd, want in zip(fds, wanted, strict=True))
        is_laid = lacking == 0 and sizes == wanted
        spare = spare_bytes(len(names), part_bytes, at_least=0 if is_laid else SPARE_BYTES)
        plan = _Plan(folder, names, slot_bytes, sum(wanted), there, spare)
        needed = lacking + max(0, plan.spare - plan.beside)
        if needed > (medium_left(folder) if is_laid else free_bytes(folder)):
            raise plan.refusal(needed)
        if is_laid:
            return
        try:
            for fd, want in zip(fds, wanted, strict=True):
                os.posix_fallocate(fd, 0, want)
        except OSError as error:
            for fd, size in zip(fds, sizes, strict=True):
                os.ftruncate(fd, size)
            if error.errno not in FULL:
                raise
            raise plan.refusal(lacking) from error


def allocated(found: os.stat_result) -> int:
    """Bytes of memory behind a file; a hole has none, and writing into it may kill the writer."""
    return found.st_blocks * 512


def free_bytes(folder: Folder) -> int:
    """What the file system and this process's memory limits still allow."""
    return min(_memory_left(), medium_left(folder))


def medium_left(folder: Folder) -> int:
    """What the file system still has, whoever may use it."""
    medium = os.fstatvfs(folder.fd)
    return _UNLIMITED if medium.f_blocks == 0 else medium.f_bavail * medium.f_frsize


def memory_left() -> int:
    """What this process's memory limits still allow, once every page of files that are only cached has been dropped.

    More than `free_bytes` reckons with: code that runs is among them, and whoever needs its page reads it again.
    """
    return _memory_left(whole_cache=True)


class _Plan(NamedTuple):
    """Slots as they shall be."""

    folder: Folder
    names: list[str]
    slot_bytes: int
    wanted: int
    """Bytes of all slots together, of which `there` are allocated."""
    there: int
    spare: int
    """Bytes beside them, of which `beside` are in use."""

    @property
    def beside(self) -> int:
        """Private parts, seals, and whatever else there is."""
        return max(0, used_bytes(self.folder) - self.there)

    def refusal(self, needed: int) -> ArenaDoesNotFit:
        """What lacks, and how much: room in the medium, else memory that its writer may use."""
        medium, memory = medium_left(self.folder), _memory_left()
        return ArenaDoesNotFit(
            f"the arena {self.folder.path} needs {needed} more bytes for {len(self.names)} slots of {self.slot_bytes} "
            f"with {self.spare} beside them, and {min(medium, memory)} are available: give its volume and its agent "
            "more memory",
            arena_bytes=self.wanted + max(self.spare, self.beside) if needed > medium else None,
            memory_bytes=max(1, needed - memory) if needed <= medium else None,
        )


def _memory_left(
    root: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup"), *, whole_cache: bool = False
) -> int:
    """Headroom under the tightest memory limit above this process; huge where there is none."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return _UNLIMITED
    groups = (line.split(":")[1:] for line in lines if line.count(":") == 2)
    return min((_tightest(root, *each, whole_cache=whole_cache) for each in groups), default=_UNLIMITED)


def _tightest(root: Path, controllers: str, own: str, *, whole_cache: bool) -> int:
    """Over one hierarchy: version 2 has no name, version 1 has one of its own for memory."""
    if controllers and "memory" not in controllers.split(","):
        return _UNLIMITED
    top, accounts = (root / "memory", _VERSION_1) if controllers else (root, _VERSION_2)
    group = top / own.lstrip("/")
    maximum, current, cached = accounts
    droppable = (cached, cached.replace("inactive", "active")) if whole_cache else (cached,)
    levels = (level for level in (group, *group.parents) if level.is_relative_to(top))
    return min(_headroom(level, maximum, current, droppable) for level in levels)


def _headroom(group: Path, maximum: str, current: str, droppable: tuple[str, ...]) -> int:
    try:
        limit = (group / maximum).read_text().strip()
        if not limit.isdecimal():
            return _UNLIMITED
        facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used = int((group / current).read_text())
    except (OSError, ValueError):
        return _UNLIMITED
    cached = sum(int(facts.get(name, 0)) for name in droppable)
    return min(_UNLIMITED, max(0, int(limit) - used + cached))
