"""Does an offered state fit its target, and if not, where?

By name, and all differences at once: who reads them mends them in one go.
"""

from collections.abc import Iterator, Sequence

from checkpointheal.contract.layout import Difference, Schema, TensorEntry


def compare(offered: Schema, target: Schema) -> tuple[Difference, ...]:
    """Every difference; none: it fits."""
    return tuple(_differences(offered, target))


def _differences(offered: Schema, target: Schema) -> Iterator[Difference]:
    ours, theirs = {e.path: e for e in target.tensors}, {e.path: e for e in offered.tensors}
    yield from _names(sorted(theirs), sorted(ours), "tensor")
    yield from _names(sorted(offered.value_paths), sorted(target.value_paths), "value")
    for path in sorted(ours.keys() & theirs.keys()):
        yield from _entry(theirs[path], ours[path])
    if ours.keys() == theirs.keys():
        yield from _ties(offered, target)
        if offered.tree != target.tree:
            yield Difference(path="the state", what="container", offered="nested or ordered otherwise", target="not so")


def _names(offered: Sequence[str], target: Sequence[str], kind: str) -> Iterator[Difference]:
    for path in sorted(set(target) - set(offered)):
        yield Difference(path=path, what="missing", offered="not there", target=f"a {kind}")
    for path in sorted(set(offered) - set(target)):
        yield Difference(path=path, what="unexpected", offered=f"a {kind}", target="not there")


def _entry(offered: TensorEntry, target: TensorEntry) -> Iterator[Difference]:
    facts = {
        "dtype": (offered.dtype, target.dtype),
        "shape": (offered.shape, target.shape),
        "stride": (offered.stride, target.stride) if offered.shape == target.shape else ((), ()),
        "placement": (_placed(offered), _placed(target)),
    }
    for what, (theirs, ours) in facts.items():
        if theirs != ours:
            yield Difference(path=offered.path, what=what, offered=str(theirs), target=str(ours))


def _placed(entry: TensorEntry) -> str:
    placed = entry.placement
    return (
        "local"
        if placed is None
        else f"{list(placed.placements)} of {list(placed.global_shape)} on {list(placed.mesh_shape)}"
    )


def _ties(offered: Schema, target: Schema) -> Iterator[Difference]:
    """Which tensors share storage, and where in it: a tie on one side only would alias or split live memory."""
    theirs, ours = _groups(offered), _groups(target)
    for path in sorted(ours):
        if theirs[path] != ours[path]:
            yield Difference(path=path, what="tie", offered=_told(theirs[path]), target=_told(ours[path]))


def _groups(schema: Schema) -> dict[str, tuple[tuple[str, int], ...]]:
    members: dict[int, list[tuple[str, int]]] = {}
    for entry in schema.tensors:
        members.setdefault(entry.region, []).append((entry.path, entry.offset))
    return {entry.path: tuple(sorted(members[entry.region])) for entry in schema.tensors}


def _told(group: tuple[tuple[str, int], ...]) -> str:
    return "alone" if len(group) == 1 else "with " + ", ".join(path for path, _ in group[:4])
