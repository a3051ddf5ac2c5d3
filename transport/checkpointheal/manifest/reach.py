"""How far does a tensor reach in its memory?

From shape and strides alone, as somebody else may have written them. Must not know live tensors.
"""

from checkpointheal.contract.layout import TensorEntry
from checkpointheal.manifest.dtypes import BY_NAME


def reach(entry: TensorEntry) -> int:
    """Bytes from its first element to behind its last one; 0 where it has none."""
    if 0 in entry.shape:
        return 0
    last = sum((size - 1) * stride for size, stride in zip(entry.shape, entry.stride, strict=True))
    return (last + 1) * BY_NAME[entry.dtype].itemsize


def may_overlap_itself(entry: TensorEntry) -> bool:
    """Whether two of its elements may lie at one place."""
    behind = 1
    for stride, size in sorted(pair for pair in zip(entry.stride, entry.shape, strict=True) if pair[1] > 1):
        if stride < behind:
            return True
        behind += (size - 1) * stride
    return False
