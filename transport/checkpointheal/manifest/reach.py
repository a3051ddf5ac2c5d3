"""How far does a tensor reach in its memory?

From shape and strides alone, as somebody else may have written them. Must not know live tensors.
"""

import math
from collections.abc import Sequence

from checkpointheal.contract.layout import Form, TensorEntry
from checkpointheal.manifest.dtypes import BY_NAME

_MOST = 1 << 58
"""Elements of 16 bytes whose bytes still are a number of 63 bits."""


def reach(entry: Form | TensorEntry) -> int:
    """Bytes from its first element to behind its last one; 0 where it has none."""
    if 0 in entry.shape:
        return 0
    last = sum((size - 1) * stride for size, stride in zip(entry.shape, entry.stride, strict=True))
    return (last + 1) * BY_NAME[entry.dtype].itemsize


def is_dense(entry: Form | TensorEntry) -> bool:
    """Whether its elements, where they do not overlap, leave nothing out between its first and its last one."""
    return reach(entry) == math.prod(entry.shape) * BY_NAME[entry.dtype].itemsize


def may_overlap_itself(entry: Form | TensorEntry) -> bool:
    """Whether two of its elements may lie at one place."""
    behind = 1
    for stride, size in sorted(pair for pair in zip(entry.stride, entry.shape, strict=True) if pair[1] > 1):
        if stride < behind:
            return True
        behind += (size - 1) * stride
    return False


def is_countable(shape: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether torch can number its elements, and the places where they would lie, in bytes too. Empty ones included."""
    sizes = [max(size, 1) for size in shape]
    last = sum((size - 1) * abs(step) for size, step in zip(sizes, stride, strict=True))
    return max(math.prod(sizes), last, *map(abs, stride), 0) < _MOST
