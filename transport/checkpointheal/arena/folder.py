"""How is a file opened, made and replaced in a directory that another user's process shares?

Every name is looked up in the directory's own descriptor, no link is followed, nothing but a regular file is opened,
and whatever is made here can be read and written by any user, whatever the umask. Must not know what the files hold.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import weakref
from collections.abc import Callable
from pathlib import Path

from checkpointheal.errors import ArenaDoesNotFit, NoArena, SlotDamaged

FILE_MODE, FOLDER_MODE = 0o666, 0o777
FULL = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EFBIG)
_CAREFUL = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""O_NONBLOCK because opening a FIFO that somebody left under our name would wait for ever."""


class Folder:
    """One directory, held open."""

    def __init__(self, path: Path) -> None:
        """Raises NoArena where no directory is."""
        self.path = path
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise NoArena(f"no arena can be opened at {path}: {error.strerror}") from error
        weakref.finalize(self, os.close, self.fd)

    def admit_all(self) -> None:
        """Let every user make and replace files here. Where another user owns it, that user has already decided."""
        if os.fstat(self.fd).st_uid == os.geteuid():
            os.fchmod(self.fd, FOLDER_MODE)

    def names(self) -> list[str]:
        """What lies here, sorted."""
        return sorted(os.listdir(self.fd))

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor of a regular file. Raises FileNotFoundError; SlotDamaged where it is anything else."""
        try:
            fd = os.open(name, flags | _CAREFUL, dir_fd=self.fd)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise SlotDamaged(f"{name} cannot be opened as a file: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise SlotDamaged(f"{name} is not a regular file")
        return fd

    def put_aside(self, name: str, *, unless: Callable[[int], bool] = stat.S_ISREG) -> None:
        """Give what stands under a name of ours, and is of another kind, a name that is nobody's. Raises OSError."""
        found = self.stat(name)
        if found is not None and not unless(found.st_mode):
            os.rename(name, f"aside.{secrets.token_hex(4)}", src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def ensure(self, name: str) -> None:
        """Make an empty file unless one is there."""
        with contextlib.suppress(FileExistsError):
            os.close(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _CAREFUL, FILE_MODE, dir_fd=self.fd))
        fd = self.open(name)
        try:
            # Whoever made it may have been killed before this line, so an existing file of our own is admitted again.
            if os.fstat(fd).st_uid == os.geteuid():
                os.fchmod(fd, FILE_MODE)
        finally:
            os.close(fd)

    def read(self, name: str, limit: int) -> bytes | None:
        """The whole file; None where there is none. Raises SlotDamaged over `limit` bytes."""
        try:
            fd = self.open(name)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise SlotDamaged(f"{name} is larger than {limit} bytes")
        return content

    def publish(self, name: str, content: bytes, temporary: str) -> None:
        """Put a whole file in place at once. Nobody else may use the temporary name. Raises ArenaDoesNotFit."""
        self.remove(temporary)
        try:
            self.put(name, content, temporary)
        except OSError as error:
            self.remove(temporary)
            if error.errno in FULL:
                raise ArenaDoesNotFit(f"{self.path} has no room for {name} ({len(content)} bytes)") from error
            raise SlotDamaged(f"{name} cannot be put in place: {error.strerror}") from error

    def put(self, name: str, content: bytes, temporary: str) -> None:
        """The same where nothing has the temporary name. Raises OSError."""
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CAREFUL, FILE_MODE, dir_fd=self.fd)
        with os.fdopen(fd, "wb", buffering=0) as file:
            os.fchmod(fd, FILE_MODE)
            _write_whole(file.fileno(), content)
        os.replace(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def remove(self, name: str) -> None:
        """Take a file away if it is there. Raises SlotDamaged where it cannot be."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise SlotDamaged(f"{name} cannot be removed: {error.strerror}") from error

    def stat(self, name: str) -> os.stat_result | None:
        """What lies under a name, links not followed; None where nothing does."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None


class Lock:
    """A `flock` that this process alone holds: it ends with the process, and forked children do not inherit it.

    Owns its descriptor, which must come from an `open` of its own: a duplicate (such as the one inside every `mmap`)
    would keep the lock alive in a forked data loader after the trainer's death.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        _LOCKS.add(self)
        self._closing = weakref.finalize(self, os.close, fd)

    def take(self, *, shared: bool = False) -> bool:
        """Whether it is held now. Never waits."""
        try:
            fcntl.flock(self.fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let go; it may be taken again."""
        if self._closing.alive:
            fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go for good."""
        self._closing()


_LOCKS: "weakref.WeakSet[Lock]" = weakref.WeakSet()


def _forget_locks() -> None:
    for lock in list(_LOCKS):
        lock.close()


os.register_at_fork(after_in_child=_forget_locks)


def _write_whole(fd: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]
