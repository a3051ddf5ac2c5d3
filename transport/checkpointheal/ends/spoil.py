"""How does live memory say that it holds no state?

Every number of a floating dtype that did not come is NaN: who computes with it sees it at once. A dtype that has no NaN
is left as it is. Must not know why it did not come.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from checkpointheal.contract.cut import Piece
from checkpointheal.contract.layout import TensorEntry
from checkpointheal.ends.owned import is_solid, mask
from checkpointheal.manifest import Described
from checkpointheal.manifest.dtypes import BY_NAME
from checkpointheal.manifest.reach import reach

_NO_NAN = frozenset(("float4_e2m1fn_x2",))
_NEGATIVE_ZERO = frozenset(("float8_e4m3fnuz", "float8_e5m2fnuz"))
"""Their only NaN is where others have their negative zero. In every other floating dtype all bits set is one."""
_Range = tuple[int, int]


def spoil(live: Described, lacking: Iterable[Piece]) -> None:
    """Fill with NaN what lacks; and where no number can be NaN there, all: a mixture is never without one."""
    ranges: dict[int, list[_Range]] = {}
    for piece in lacking:
        ranges.setdefault(piece.region, []).append((piece.in_region, piece.in_region + piece.nbytes))
    if not _fill(live, {region: list(_merged(parts)) for region, parts in ranges.items()}):
        _fill(live, {index: [(0, nbytes)] for index, nbytes in enumerate(live.schema.regions.nbytes)})


def _fill(live: Described, lacking: Mapping[int, Sequence[_Range]]) -> bool:
    """Whether there was anything to fill."""
    found = False
    for entry in live.schema.each_tensor:
        for start, end in _shared(entry, lacking.get(entry.region, ())) if _has_nan(entry) else ():
            memory, number = live.regions[entry.region][start:end], 0x80 if entry.dtype in _NEGATIVE_ZERO else 0xFF
            if is_solid(entry):
                memory.fill_(number)
            else:
                memory.masked_fill_(mask([entry], entry.offset + reach(entry))[start:end].to(memory.device), number)
            found = True
    return found


def _shared(entry: TensorEntry, lacking: Sequence[_Range]) -> Iterator[_Range]:
    """What of the tensor's bytes lacks, in whole elements."""
    size, behind = BY_NAME[entry.dtype].itemsize, entry.offset + reach(entry)
    for start, end in lacking:
        low, high = max(start, entry.offset) - entry.offset, min(end, behind) - entry.offset
        if low < high:
            yield entry.offset + low // size * size, entry.offset + -(-high // size) * size


def _merged(parts: Sequence[_Range]) -> Iterator[_Range]:
    """Neighbours as one, so that a large tensor is filled at once."""
    parts = sorted(parts)
    starts = [0, *(at for at, (left, right) in enumerate(pairwise(parts), 1) if left[1] < right[0]), len(parts)]
    return ((parts[first][0], parts[end - 1][1]) for first, end in pairwise(starts))


def _has_nan(entry: TensorEntry) -> bool:
    dtype = BY_NAME[entry.dtype]
    return entry.dtype not in _NO_NAN and (dtype.is_floating_point or dtype.is_complex)
