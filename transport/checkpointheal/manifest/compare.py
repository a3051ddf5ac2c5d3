"""Does an offered state fit its target, and if not, where?

By name, and all differences at once: who reads them mends them in one go.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from checkpointheal.contract.layout import Difference, Form, Schema, TensorEntry
from checkpointheal.manifest.reach import reach
from checkpointheal.manifest.runs import runless
from checkpointheal.manifest.tree import join

_TOLD = {
    "d": "a dict", "od": "an OrderedDict", "ct": "a Counter", "l": "a list", "t": "a tuple", "T": "a tensor",
    "V": "a value", "K": "a constant", "sh": "a ShardedTensor", "dt": "a DTensor of tensors",
}  # fmt: skip
_OBJECTS: Mapping[str, Mapping[int, str]] = {
    "x": {1: "context", 3: "shape"},
    "dt": {0: "placement"},
    "sh": {0: "placement"},
}
"""Where, in a tensor that is made of tensors, that stands which is no tensor."""
FACTS = ("dtype", "shape", "stride", "placement")
"""What must be the same of two tensors."""
_INFORMATION = frozenset(("holder", "mesh_dim_names", "mesh_coordinate"))
_LONGEST = 200


def compare(offered: Schema, target: Schema, *, memory: bool = True) -> tuple[Difference, ...]:
    """Every difference; none: it fits.

    With `memory`, tensors that share a storage must lie in it alike even where none of their bytes are the same: then
    the two have one data section, and one digest.
    """
    if offered.tree != target.tree and _untold(offered.tree) != _untold(target.tree):
        return tuple(_differences(offered, target))
    if offered.tensors.paths != target.tensors.paths:
        pairs = zip(offered.each_tensor, target.each_tensor, strict=True)
        return tuple(_misnamed(*pair) for pair in pairs if pair[0].path != pair[1].path)
    if _look_alike(offered, target) and lie_alike(offered, target):
        return ()
    pairs = zip(offered.each_tensor, target.each_tensor, strict=True)
    differences = [*(each for pair in pairs for each in of_entries(*pair)), *_ties(offered, target)]
    return tuple(differences or (_places(offered, target) if memory else ()))


def _look_alike(offered: Schema, target: Schema) -> bool:
    """Whether no two tensors differ, wherever they lie: forms are few, tensors may be very many."""
    pairs = set(zip(offered.tensors.forms, target.tensors.forms, strict=True))
    return all(_facts(offered.forms[theirs]) == _facts(target.forms[ours]) for theirs, ours in pairs)


def lie_alike(offered: Schema, target: Schema) -> bool:
    """Whether region by region is tensor by tensor: always, where both sides run one program."""
    theirs, ours = offered.tensors, target.tensors
    alike = (theirs.regions, theirs.offsets) == (ours.regions, ours.offsets)
    return alike and offered.regions.nbytes == target.regions.nbytes


def _untold(tree: Any) -> Any:
    """A tree without what is told for information: who holds which shard, and where in a mesh."""
    if isinstance(tree, dict):
        return {key: _untold(child) for key, child in tree.items() if key not in _INFORMATION}
    return [_untold(child) for child in tree] if isinstance(tree, list) else tree


def _differences(offered: Schema, target: Schema) -> Iterator[Difference]:
    ours, theirs = {e.path: e for e in target.each_tensor}, {e.path: e for e in offered.each_tensor}
    named = [
        *_names(sorted(theirs), sorted(ours), "tensor"),
        *_names(sorted(offered.value_paths), sorted(target.value_paths), "value"),
    ]
    yield from named
    for path in sorted(ours.keys() & theirs.keys()):
        yield from of_entries(theirs[path], ours[path])
    if ours.keys() == theirs.keys():
        yield from _ties(offered, target)
    nested = list(containers(runless(offered.tree), runless(target.tree)))
    yield from nested
    if not named and not nested:
        yield Difference(path="the state", what="container", offered="numbered otherwise", target="not so")


def containers(offered: Any, target: Any, path: str = "") -> Iterator[Difference]:
    """Where two trees, each known to be one of ours, hold other containers, objects or constants."""
    ((tag, theirs),), ((own, ours),) = offered.items(), target.items()
    if {tag, own} == {"T", "V"}:
        return  # a tensor that is missing and a value that is unexpected, or the other way round: told by name
    if tag != own or (tag in ("c", "x") and theirs[0] != ours[0]):
        yield _differ(path, "container", _told(offered), _told(target))
    elif tag in ("d", "od", "ct"):
        yield from _mappings(theirs, ours, path)
    elif tag in ("l", "t"):
        yield from _children(
            [[i, node] for i, node in enumerate(theirs)], [[i, node] for i, node in enumerate(ours)], path
        )
    elif tag == "c":
        yield from containers(theirs[1], ours[1], path)
    elif tag in _OBJECTS:
        yield from _objects(tag, theirs, ours, path)


def _mappings(theirs: Any, ours: Any, path: str) -> Iterator[Difference]:
    keys = [[json.dumps(key) for key, _ in pairs] for pairs in (theirs, ours)]
    if keys[0] != keys[1] and sorted(keys[0]) == sorted(keys[1]):
        yield _differ(path, "container", f"ordered {_shown(theirs)}", _shown(ours))
    yield from _children(theirs, ours, path)


def _children(theirs: Any, ours: Any, path: str) -> Iterator[Difference]:
    """Those of one key. One that only one side has is told by its leaves, if it has any."""
    offered, held = ({json.dumps(key): (key, node) for key, node in pairs} for pairs in (theirs, ours))
    for word in sorted(offered.keys() & held.keys()):
        key, node = offered[word]
        yield from containers(node, held[word][1], join(path, _plain(key)))
    for word in sorted(offered.keys() ^ held.keys()):
        key, node = offered.get(word) or held[word]
        if not _has_leaves(node):
            told = ("nothing", _told(node)) if word in held else (_told(node), "nothing")
            yield _differ(join(path, _plain(key)), "container", *told)


def _objects(tag: str, theirs: Any, ours: Any, path: str) -> Iterator[Difference]:
    """A constant belongs to the tensor that it describes: where it differs, the same bytes mean something else."""
    for place, what in _OBJECTS[tag].items():
        if _untold(theirs[place]) != _untold(ours[place]):
            yield _differ(path, what, json.dumps(theirs[place]), json.dumps(ours[place]))
    if tag != "sh":
        at = 2 if tag == "x" else 1
        yield from containers(theirs[at], ours[at], path)


def _has_leaves(node: Any) -> bool:
    ((tag, content),) = node.items()
    if tag in ("T", "V", "x", "sh", "dt"):
        return True
    if tag in ("d", "od", "ct"):
        return any(_has_leaves(child) for _, child in content)
    return any(map(_has_leaves, content)) if tag in ("l", "t") else tag == "c" and _has_leaves(content[1])


def _told(node: Any) -> str:
    ((tag, content),) = node.items()
    return f"a {content[0]}" if tag in ("c", "x") else _TOLD[tag]


def _shown(pairs: Any) -> str:
    return ", ".join(str(_plain(key)) for key, _ in pairs[:4]) + (", …" if len(pairs) > 4 else "")


def _plain(key: Any) -> Any:
    return next(iter(key.values())) if isinstance(key, dict) else key


def _differ(path: str, what: str, offered: str, target: str) -> Difference:
    return Difference(path=path or "the state", what=what, offered=offered[:_LONGEST], target=target[:_LONGEST])


def _names(offered: Sequence[str], target: Sequence[str], kind: str) -> Iterator[Difference]:
    for path in sorted(set(target) - set(offered)):
        yield Difference(path=path, what="missing", offered="not there", target=f"a {kind}")
    for path in sorted(set(offered) - set(target)):
        yield Difference(path=path, what="unexpected", offered=f"a {kind}", target="not there")


def _misnamed(offered: TensorEntry, target: TensorEntry) -> Difference:
    """A tensor whose path is not that of its place in the tree, which nobody writes who means well."""
    return _differ(target.path, "container", f"a tensor named {offered.path}", "a tensor")


def of_entries(offered: TensorEntry, target: TensorEntry) -> Iterator[Difference]:
    """Every difference of two tensors, whatever the places where they stand."""
    theirs, ours = _facts(offered), _facts(target)
    for what in theirs:
        if theirs[what] != ours[what] and (what != "stride" or offered.shape == target.shape):
            yield Difference(path=target.path, what=what, offered=str(theirs[what]), target=str(ours[what]))


def _facts(entry: TensorEntry | Form) -> Mapping[str, Any]:
    return dict(zip(FACTS, (entry.dtype, entry.shape, entry.stride, _placed(entry)), strict=True))


def _placed(entry: TensorEntry | Form) -> str:
    placed = entry.placement
    return (
        "local"
        if placed is None
        else f"{list(placed.placements)} of {list(placed.global_shape)} on {list(placed.mesh_shape)}"
    )


def _ties(offered: Schema, target: Schema) -> Iterator[Difference]:
    """Which tensors share bytes, and how: a tie on one side only would alias or split live memory."""
    theirs, ours = _groups(offered), _groups(target)
    differ: dict[tuple[int, int], bool] = {}  # of two groups, each of which may have very many tensors
    for path in sorted(ours):
        pair = id(theirs[path]), id(ours[path])
        if pair not in differ:
            differ[pair] = theirs[path] != ours[path]
        if differ[pair]:
            yield Difference(path=path, what="tie", offered=_group(theirs[path]), target=_group(ours[path]))


def _groups(schema: Schema) -> dict[str, tuple[tuple[str, int], ...]]:
    """Each tensor's group: all whose bytes overlap, directly or through others, from the group's first byte on."""
    found: dict[str, tuple[tuple[str, int], ...]] = {}
    regions: dict[int, list[TensorEntry]] = {}
    for entry in schema.each_tensor:
        regions.setdefault(entry.region, []).append(entry)
    for entries in regions.values():
        for group in _overlapping(sorted(entries, key=lambda entry: entry.offset)):
            shown = tuple(sorted((entry.path, entry.offset - group[0].offset) for entry in group))
            found.update((entry.path, shown) for entry in group)
    return found


def _overlapping(ascending: Sequence[TensorEntry]) -> Iterator[list[TensorEntry]]:
    group, end = [ascending[0]], ascending[0].offset + reach(ascending[0])
    for entry in ascending[1:]:
        if entry.offset >= end:
            yield group
            group = []
        group.append(entry)
        end = max(end, entry.offset + reach(entry))
    yield group


def _places(offered: Schema, target: Schema) -> Iterator[Difference]:
    for theirs, ours in zip(offered.each_tensor, target.each_tensor, strict=True):
        places = [
            (entry.region, entry.offset, schema.regions.nbytes[entry.region])
            for entry, schema in ((theirs, offered), (ours, target))
        ]
        if places[0] != places[1]:
            told = [f"byte {offset} of {size} in storage {region}" for region, offset, size in places]
            yield Difference(path=ours.path, what="storage", offered=told[0], target=told[1])


def _group(group: tuple[tuple[str, int], ...]) -> str:
    return "alone" if len(group) == 1 else "with " + ", ".join(path for path, _ in group[:4])
