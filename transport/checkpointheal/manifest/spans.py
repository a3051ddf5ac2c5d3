"""Which ranges of memory do tensors need, and which of them share one?

Ranges of a storage that overlap or adjoin are one region; each is numbered by the first tensor that it serves. Most
tensors have a storage of their own: these are told from the rest before anything is sorted. Must not know trees.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from checkpointheal.manifest.dtypes import Element
from checkpointheal.manifest.looks import Seen
from checkpointheal.manifest.places import Places

_GRAIN = 16
"""Regions begin at a multiple of the largest element's size within their storage, so that every view stays aligned."""


class Laid(NamedTuple):
    """Regions in columns, and where each tensor lies in which."""

    places: Places
    dtypes: tuple[str, ...]
    lengths: tuple[int, ...]
    of: tuple[int, ...]
    offsets: tuple[int, ...]


class _Span(NamedTuple):
    """A range of one storage, and the tensors in it."""

    first: int
    start: int
    end: int
    members: Sequence[int]


def lay_out(seen: Seen) -> Laid:
    """Where everything lies."""
    reaches, own = seen.reaches(), seen.starts()
    high = own + reaches
    low = np.minimum(own - own % _GRAIN, high)
    starts, ends = low.tolist(), high.tolist()
    shared = [span for members in _shared(seen, reaches.tolist()) for span in _merged(starts, ends, members)]
    if not shared:
        return _alone(seen, starts, ends)
    taken = {at for span in shared for at in span.members}
    alone = (_Span(at, starts[at], ends[at], (at,)) for at in range(len(ends)) if at not in taken)
    return _together(seen, sorted((*shared, *alone)))


def _shared(seen: Seen, reaches: Sequence[int]) -> list[list[int]]:
    """The tensors of each storage that has several; one without elements needs none."""
    keys: Sequence[Any] = seen.bases
    if len(seen.devices) > 1:
        keys = [(base, storage.device) for base, storage in zip(seen.bases, seen.storages, strict=True)]
    if len(set(keys)) == len(keys):
        return []
    found: dict[Any, list[int]] = {}
    for at, (key, reaches_far) in enumerate(zip(keys, reaches, strict=True)):
        if reaches_far:
            found.setdefault(key, []).append(at)
    return [members for members in found.values() if len(members) > 1]


def _merged(starts: Sequence[int], ends: Sequence[int], members: Sequence[int]) -> Iterator[_Span]:
    ascending = sorted((starts[at], ends[at], at) for at in members)
    low, high, _ = ascending[0]
    inside: list[int] = []
    for start, end, at in ascending:
        if start > high:
            yield _Span(min(inside), low, high, inside)
            low, inside = start, []
        high = max(high, end)
        inside.append(at)
    yield _Span(min(inside), low, high, inside)


def _alone(seen: Seen, starts: Sequence[int], ends: Sequence[int]) -> Laid:
    """Every tensor is a region."""
    lengths = tuple(map(int.__sub__, ends, starts))
    kinds = list(zip(seen.of, lengths, strict=True))
    words = {kind: _base({seen.looks[kind[0]].element}, kind[1]) for kind in set(kinds)}
    dtypes = tuple(map(words.__getitem__, kinds))
    places = _places(seen, seen.storages, starts, lengths)
    return Laid(places, dtypes, lengths, tuple(range(len(ends))), _offsets(seen, starts))


def _together(seen: Seen, spans: Sequence[_Span]) -> Laid:
    """Some share a region."""
    of, starts = [0] * len(seen.of), [0] * len(seen.of)
    for number, span in enumerate(spans):
        for at in span.members:
            of[at], starts[at] = number, span.start
    lengths = tuple(span.end - span.start for span in spans)
    elements = ({seen.looks[seen.of[at]].element for at in span.members} for span in spans)
    storages = [max((seen.storages[at] for at in span.members), key=_nbytes) for span in spans]
    places = _places(seen, storages, [span.start for span in spans], lengths)
    return Laid(places, tuple(map(_base, elements, lengths)), lengths, tuple(of), _offsets(seen, starts))


def _nbytes(storage: torch.UntypedStorage) -> int:
    """Several begin at one address where each was made of another's memory, as numpy's is: the longest has it all."""
    return storage.nbytes()


def _offsets(seen: Seen, starts: Sequence[int]) -> tuple[int, ...]:
    """First byte of each tensor in its region; 0 where it has no element."""
    inside = seen.starts() - np.array(starts, dtype=np.int64)
    return tuple(np.where(seen.reaches() > 0, inside, 0).tolist())


def _places(seen: Seen, storages: Sequence[Any], starts: Sequence[int], lengths: Sequence[int]) -> Places:
    return Places(storages, starts, lengths, on_cpu=all(device.type == "cpu" for device in seen.devices))


def _base(elements: set[Element], length: int) -> str:
    if len(elements) == 1:
        (element,) = elements
        if element.safetensors and length % element.size == 0:
            return element.safetensors
    return "U8"
