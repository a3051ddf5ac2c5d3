"""How do many small pieces get into one buffer, and back, or from where they lie to where others of them lie?

By their addresses, one copy each and nothing else: a tensor that views a few kilobytes costs more to make than they
cost to copy. Large ones, and those of a device, are copied as torch does it. Must not know why.
"""

import ctypes
from collections import deque
from collections.abc import Sequence

import torch

from checkpointheal.contract.cut import Pieces
from checkpointheal.errors import Misuse
from checkpointheal.manifest.places import addresses

_libc = ctypes.PyDLL(None)
"""Called without letting the interpreter's lock go: a small copy takes less time than that."""
_copy, _set = _libc.memcpy, _libc.memset
_copy.argtypes, _copy.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t), None
_set.argtypes, _set.restype = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t), None


def gather(bucket: torch.Tensor, pieces: Pieces, regions: Sequence[torch.Tensor]) -> None:
    """Copy the pieces into the bucket, which holds one chunk: 1-D, uint8, CPU memory."""
    large, small = pieces.parted()
    sources = addresses(regions, small)
    for region, inside, at, count in zip(*(large if sources is not None else pieces), strict=True):
        bucket[at : at + count].copy_(regions[region][inside : inside + count])
    if sources is not None:
        _move(_in(bucket, small), sources, small.nbytes)


def scatter(bucket: torch.Tensor, pieces: Pieces, regions: Sequence[torch.Tensor]) -> None:
    """Copy the pieces out of it."""
    large, small = pieces.parted()
    targets = addresses(regions, small)
    for region, inside, at, count in zip(*(large if targets is not None else pieces), strict=True):
        regions[region][inside : inside + count].copy_(bucket[at : at + count])
    if targets is not None:
        _move(targets, _in(bucket, small), small.nbytes)


def copy(pieces: Pieces, sources: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]) -> None:
    """Copy the pieces from regions into others of the same lengths."""
    large, small = pieces.parted()
    out_of, into = addresses(sources, small), addresses(targets, small)
    has_both = out_of is not None and into is not None
    for region, inside, _, count in zip(*(large if has_both else pieces), strict=True):
        targets[region][inside : inside + count].copy_(sources[region][inside : inside + count])
    if out_of is not None and into is not None:
        _move(into, out_of, small.nbytes)


def clear(bucket: torch.Tensor, gaps: Sequence[tuple[int, int]]) -> None:
    """Zeros there: from where on, and how many; ascending."""
    if gaps and sum(gaps[-1]) > bucket.numel():
        raise Misuse(f"bytes up to {sum(gaps[-1])} are cleared in a buffer of {bucket.numel()}")
    base = _base(bucket)
    for at, count in gaps:
        _set(base + at, 0, count)


def _move(into: Sequence[int], out_of: Sequence[int], counts: Sequence[int]) -> None:
    deque(map(_copy, into, out_of, counts), maxlen=0)


def _in(bucket: torch.Tensor, pieces: Pieces) -> list[int]:
    """Their addresses in it."""
    if pieces.regions and pieces.in_chunk[-1] + pieces.nbytes[-1] > bucket.numel():  # they ascend
        raise Misuse(f"a chunk of {pieces.in_chunk[-1] + pieces.nbytes[-1]} bytes has a buffer of {bucket.numel()}")
    base = _base(bucket)
    return [base + at for at in pieces.in_chunk]


def _base(bucket: torch.Tensor) -> int:
    """Its address. Another device's would end the process."""
    if not bucket.is_cpu:
        raise Misuse(f"a chunk is packed in CPU memory, this buffer is on {bucket.device}")
    return bucket.data_ptr()
