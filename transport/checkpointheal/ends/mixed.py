"""Which live memory holds a mixture of two states?

What was being filled when its transfer ended, until a receive has filled it. It is known by the memory itself, for the
whole process: whoever heals it may be another transport, over another group. No memory is kept alive by being known
here, and none that was freed is taken for what was made in its place. Must not know how the bytes came.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from checkpointheal.errors import TargetInvalid


class Span(NamedTuple):
    """A range of one storage, in bytes."""

    storage: StorageWeakRef
    start: int
    end: int

    @property
    def is_gone(self) -> bool:
        """Whether nobody holds its memory any more."""
        return bool(self.storage.expired())  # type: ignore[no-untyped-call]


Memory = tuple[Span, ...]

_lock = threading.Lock()
_mixed: dict[Memory, str] = {}


def memory_of(regions: Iterable[torch.Tensor]) -> Memory:
    """Where these 1-D uint8 tensors lie."""
    return tuple(
        Span(StorageWeakRef(region.untyped_storage()), start := int(region.storage_offset()), start + region.numel())  # type: ignore[no-untyped-call]
        for region in regions
        if region.numel()
    )


def mark(regions: Iterable[torch.Tensor], why: str) -> Memory:
    """They hold a mixture, from now on, and why; their memory."""
    memory = memory_of(regions)
    with _lock:
        _mixed[memory] = why
    return memory


def healed(regions: Iterable[torch.Tensor]) -> None:
    """They hold a state again."""
    if _mixed:
        forget(memory_of(regions))


def forget(memory: Memory) -> None:
    """What was a mixture and lies in this memory is none any more."""
    whole = _by_storage(memory)
    with _lock:
        for known in [each for each in _mixed if all(span.is_gone or _lies_in(span, whole) for span in each)]:
            del _mixed[known]


def require_whole(regions: Iterable[torch.Tensor], besides: Memory = ()) -> None:
    """Raises TargetInvalid where some of it is in a mixture. Costs nothing where there is none in this process."""
    if not _mixed:
        return
    used = _by_storage((*memory_of(regions), *besides))
    with _lock:
        for memory, why in _mixed.items():
            if any(not span.is_gone and _touches(span, used) for span in memory):
                raise TargetInvalid(why)


def _by_storage(memory: Memory) -> Mapping[StorageWeakRef, Sequence[Span]]:
    found: dict[StorageWeakRef, list[Span]] = {}
    for span in memory:
        found.setdefault(span.storage, []).append(span)
    return found


def _lies_in(span: Span, whole: Mapping[StorageWeakRef, Sequence[Span]]) -> bool:
    return any(each.start <= span.start and span.end <= each.end for each in whole.get(span.storage, ()))


def _touches(span: Span, used: Mapping[StorageWeakRef, Sequence[Span]]) -> bool:
    return any(each.start < span.end and span.start < each.end for each in used.get(span.storage, ()))
