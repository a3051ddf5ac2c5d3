"""Where does lie what arrives, before anybody uses it?

In new memory, in huge pages where the system gives them on request: the first touch of ordinary ones costs more than
the wire brings. It is advice; without it the memory is the same, and slower to fill. Not so where a host takes back
what its machine has free: there huge pages are what it has taken, and small ones are not. Must not know what arrives.
"""

import contextlib
import ctypes
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import torch

from checkpointheal import digest
from checkpointheal.contract.base import Digest

HUGE = 2 << 20
"""Bytes of a huge page."""
WORTH = 2 * HUGE
"""Bytes from which on a tensor is sure to hold a whole one."""
BALLOONS = Path("/sys/bus/virtio/drivers/virtio_balloon")
_REPORTING = 5
"""VIRTIO_BALLOON_F_REPORTING, a bit of the features: the host is told which large blocks are free."""
_MADV_HUGEPAGE = 14
_libc = ctypes.CDLL(None)


def digest_of(parts: Iterable[torch.Tensor]) -> Digest:
    """Of the bytes of these, one after the other: contiguous ones of the CPU."""
    return digest.digest_parts(part.numpy().data for part in parts)


def beginning(parts: Iterable[torch.Tensor], most: int) -> bytes:
    """The first bytes of these, one after the other."""
    found = b""
    for part in parts:
        found += part[: most - len(found)].numpy().tobytes()
    return found


@cache
def is_taken_back(balloons: Path = BALLOONS) -> bool:
    """Whether this machine is a virtual one whose host takes free memory away, and takes its time to give it back."""
    told = ""
    with contextlib.suppress(OSError):
        told = "".join(file.read_text()[_REPORTING : _REPORTING + 1] for file in balloons.glob("virtio*/features"))
    return "1" in told


def new(nbytes: int) -> torch.Tensor:
    """1-D, uint8, not initialised. Raises RuntimeError where there is not so much."""
    memory = torch.empty(nbytes, dtype=torch.uint8, device="cpu")
    if nbytes >= WORTH and not is_taken_back():
        start = -(-memory.data_ptr() // HUGE) * HUGE
        length = (memory.data_ptr() + nbytes - start) // HUGE * HUGE
        _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_HUGEPAGE)
    return memory
