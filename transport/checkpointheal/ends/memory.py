"""Where does lie what arrives, before anybody uses it?

In new memory, in huge pages where the system gives them on request: the first touch of ordinary ones costs more than
the wire brings. It is advice; without it the memory is the same, and slower to fill. Must not know what arrives.
"""

import ctypes
from collections.abc import Iterable

import torch

from checkpointheal import digest
from checkpointheal.contract.base import Digest

HUGE = 2 << 20
"""Bytes of a huge page."""
WORTH = 2 * HUGE
"""Bytes from which on a tensor is sure to hold a whole one."""
_MADV_HUGEPAGE = 14
_libc = ctypes.CDLL(None)


def digest_of(parts: Iterable[torch.Tensor]) -> Digest:
    """Of the bytes of these, one after the other: contiguous ones of the CPU."""
    return digest.digest_parts(part.numpy().data for part in parts)


def new(nbytes: int) -> torch.Tensor:
    """1-D, uint8, not initialised. Raises RuntimeError where there is not so much."""
    memory = torch.empty(nbytes, dtype=torch.uint8)
    if nbytes >= WORTH:
        start = -(-memory.data_ptr() // HUGE) * HUGE
        length = (memory.data_ptr() + nbytes - start) // HUGE * HUGE
        _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_HUGEPAGE)
    return memory
