"""How does a thread that waits in a collective come free when the other ranks are gone?

NCCL has a word for it. Gloo has none: its abort leaves the waiting thread where it is. What frees it is the end of the
connections that it waits on, so they are shut down here, from outside, as if every peer had hung up. Must not know why.
"""

import contextlib
import gc
import os
import socket
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

_DESCRIPTORS = Path("/proc/self/fd")
_OPEN = frozenset({1, 2, 3, 8})
"""ESTABLISHED, SYN_SENT, SYN_RECV, CLOSE_WAIT: Linux's numbers for a connection that somebody may still wait on."""


@dataclass(frozen=True)
class Baseline:
    """The sockets that this process had before it joined anybody: none of them is a collective's."""

    inodes: frozenset[int]

    @classmethod
    def take(cls) -> "Baseline":
        """As it is now, where no process group has been made; none where that came first: it cannot be told then."""
        return cls(frozenset() if dist.is_initialized() else frozenset(inode for _, inode in sockets()))


def end_collectives(baseline: Baseline, store_ports: Collection[int] = ()) -> int:
    """Make every blocked collective of this process raise; returns how many connections were shut down.

    Listening sockets stay, and so do those that Python code made: they are the user's. `store_ports` are the rendezvous
    store's, whose connections come last, when no other is left: only a rank that still waits for others to come waits
    on them. Call it again and again: ranks connect late.
    """
    _abort_nccl()
    ours = _open_ones(lambda inode: inode not in baseline.inodes)
    first = [each for each in ours if _peer_port(each[0]) not in store_ports]
    return sum(shut_down(fd, inode) for fd, inode in first or ours)


def end_connections(inodes: Collection[int]) -> int:
    """Shut down those of these connections that are open still; returns how many there were."""
    return sum(shut_down(fd, inode) for fd, inode in _open_ones(inodes.__contains__))


def _open_ones(wanted: Callable[[int], bool]) -> list[tuple[int, int]]:
    """(descriptor, inode) of each wanted connection that somebody may still wait on, but Python's."""
    found = [(fd, inode) for fd, inode in sockets() if wanted(inode) and _is_open(fd)]
    spared = _of_python() if found else frozenset()
    return [each for each in found if each[0] not in spared]


def _abort_nccl() -> None:
    """NCCL's kernels wait on the device, where no hang-up of a connection reaches them."""
    if not dist.is_initialized():
        return
    # torch's own `_abort_process_group` forgets the groups as well, so that the user's clean-up would fail on that.
    for group in list(distributed_c10d._world.pg_map):  # noqa: SLF001 torch has no public list of its groups
        with contextlib.suppress(RuntimeError, AttributeError):
            backend = group._get_backend(torch.device("cuda"))  # noqa: SLF001 nor of their backends
            if backend.name() == "nccl":
                backend.abort()


def sockets() -> Iterator[tuple[int, int]]:
    """(descriptor, inode) of every socket of this process."""
    for name in os.listdir(_DESCRIPTORS):
        with contextlib.suppress(OSError, ValueError):
            kind, _, inode = os.readlink(_DESCRIPTORS / name).partition(":")
            if kind == "socket":
                yield int(name), int(inode.strip("[]"))


def _of_python() -> frozenset[int]:
    """Descriptors of living Python socket objects."""
    # By type, not by isinstance: somebody's lazy object would answer for its `__class__` by running code of its own.
    return frozenset(each.fileno() for each in gc.get_objects() if issubclass(type(each), socket.socket))


@contextlib.contextmanager
def _borrowed(fd: int) -> Iterator[socket.socket]:
    """A socket object of our own for somebody else's descriptor. Raises OSError where it is gone."""
    with socket.socket(fileno=os.dup(fd)) as borrowed:
        yield borrowed


def _is_open(fd: int) -> bool:
    with contextlib.suppress(OSError), _borrowed(fd) as each:
        if each.family in (socket.AF_INET, socket.AF_INET6) and each.type == socket.SOCK_STREAM:
            return each.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[0] in _OPEN
    return False


def _peer_port(fd: int) -> int | None:
    with contextlib.suppress(OSError), _borrowed(fd) as each:
        return int(each.getpeername()[1])
    return None


def shut_down(fd: int, inode: int) -> bool:
    """End this very connection, whoever waits on it; whether there was one."""
    with contextlib.suppress(OSError), _borrowed(fd) as each:
        # The number may have been closed and given to another socket since the list was made.
        if os.fstat(each.fileno()).st_ino == inode:
            each.shutdown(socket.SHUT_RDWR)
            return True
    return False
