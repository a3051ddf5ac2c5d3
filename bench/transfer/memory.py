"""What does new memory cost, for every way alike?

Two things would tell ways apart that are equal: an allocator that gives one of them memory of the one before, and a
virtual machine whose host has taken free memory away and takes a second for each gigabyte to give it back.
"""

import ctypes
import mmap

import numpy as np

_M_MMAP_THRESHOLD = -3
_LEAST_MAPPED = 128 << 10
"""Bytes; glibc's own at the start, which it raises with what is freed unless it was set."""


def always_new() -> None:
    """From now on this process' large blocks come from the system and go back to it."""
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LEAST_MAPPED)


def backed(size: int) -> None:
    """Let the next `size` bytes that this machine gives out be memory that its host has given it already.

    In huge pages: who asks for small ones is given parts of them, but nobody a huge one made of small ones.
    """
    with mmap.mmap(-1, size) as pages:
        pages.madvise(mmap.MADV_HUGEPAGE)
        every = np.frombuffer(pages, np.uint8)
        every[:: mmap.PAGESIZE] = 1
        del every
