"""What of an offered state goes into a target that differs from it?

What torch's `load_state_dict(strict=False)` does, and what `copy_` does with dtypes and strides. Never a guess: another
shape, placement or context, or two values for one memory, is refused as ever. Must not know live memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from checkpointheal.contract.layout import Difference, Schema, TensorEntry
from checkpointheal.manifest.compare import FACTS, compare, of_entries
from checkpointheal.manifest.names import Pairing, pair
from checkpointheal.manifest.reach import reach

_BRIDGED = frozenset(("missing", "unexpected", "dtype", "stride", "container"))


@dataclass(frozen=True)
class Plan:
    """Indices of what goes where, offered to target; the rest of the target stays as it is."""

    tensors: tuple[tuple[int, int], ...]
    values: tuple[tuple[int, int], ...]
    bridged: tuple[Difference, ...]
    refused: tuple[Difference, ...]


def plan(offered: Schema, target: Schema) -> Plan:
    """Which leaves go where, by name, and which differences that bridges."""
    trees = offered.tree, target.tree
    tensors = pair("T", offered.tensors.paths, target.tensors.paths, trees)
    values = pair("V", offered.value_paths, target.value_paths, trees)
    differences = tuple(dict.fromkeys(_differences(offered, target, tensors)))
    clashes = (*_clashes(offered, target, tensors.pairs), *tensors.unsettled, *values.unsettled)
    refused = tuple(each for each in differences if each.what not in {*_BRIDGED, "tie"}) + clashes
    return Plan(
        tensors=tensors.pairs,
        values=values.pairs,
        bridged=tuple(each for each in differences if each not in refused),
        refused=refused,
    )


def _differences(offered: Schema, target: Schema, tensors: Pairing) -> Iterator[Difference]:
    """Of tensors that share a path, those of the pairs alone: by the path nobody knows which is which."""
    yield from (
        each
        for each in compare(offered, target, memory=False)
        if each.path not in tensors.shared or each.what not in FACTS
    )
    for theirs, ours in tensors.pairs:
        yield from of_entries(offered.each_tensor[theirs], target.each_tensor[ours])


def _clashes(offered: Schema, target: Schema, pairs: Sequence[tuple[int, int]]) -> Iterator[Difference]:
    """Tensors of the target that share bytes, where what is offered for them does not share them in the same way."""
    by_region: dict[int, list[tuple[TensorEntry, TensorEntry]]] = {}
    for theirs, ours in pairs:
        both = offered.each_tensor[theirs], target.each_tensor[ours]
        by_region.setdefault(both[1].region, []).append(both)
    for group in by_region.values():
        group.sort(key=lambda both: both[1].offset)
        reach = group[0]
        for both in group[1:]:
            if _end(reach[1]) > both[1].offset and not _same_tie(reach, both):
                yield Difference(
                    path=both[1].path,
                    what="tie",
                    offered="alone",
                    target=f"with {reach[1].path}: one memory, two values",
                )
            reach = max(reach, both, key=lambda each: _end(each[1]))


def _same_tie(one: tuple[TensorEntry, TensorEntry], other: tuple[TensorEntry, TensorEntry]) -> bool:
    alike = all((theirs.dtype, theirs.stride) == (ours.dtype, ours.stride) for theirs, ours in (one, other))
    (their_one, our_one), (their_other, our_other) = one, other
    if not alike:  # cast or restrided: the same elements, or none
        same = (our_one.offset, our_one.shape, our_one.stride) == (our_other.offset, our_other.shape, our_other.stride)
        return same and (their_one.region, their_one.offset) == (their_other.region, their_other.offset)
    moved = their_other.offset - their_one.offset == our_other.offset - our_one.offset
    return moved and their_one.region == their_other.region


def _end(entry: TensorEntry) -> int:
    return entry.offset + reach(entry)
