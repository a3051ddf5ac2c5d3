"""How does a nest of containers and objects become a tagged tree, and back?

Tags: d dict, od OrderedDict, ct Counter, l list, t tuple; leaves are {T: i} for tensor i, {V: i} for value i and {K: v}
for a constant; R is a run of tensors, which are told together; c is an object of a class, x a tensor made of tensors,
dt a DTensor of such a one, sh a ShardedTensor. Order is kept. Must not know where bytes lie, nor what an object is made
into.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch
from pydantic import JsonValue, ValidationError

from checkpointheal.errors import UnsupportedLeaf
from checkpointheal.manifest import classes, values, wholes
from checkpointheal.manifest.classes import UNFIT
from checkpointheal.manifest.codec import Codec

DEPTH_LIMIT = 64
RUN = 8
"""So many plain tensors in a row, in one container, are a run."""
_SEQUENCES: Mapping[type, str] = {list: "l", tuple: "t"}
_MAPPINGS: Mapping[type, str] = {dict: "d", OrderedDict: "od", Counter: "ct"}

_KEYS = (
    "keys are texts, numbers, bytes, None, torch's and numpy's words and numbers, tuples of those, and members of "
    "enums, dates, paths and other values of Python's own: give such a one, or give a list of pairs"
)


@dataclass
class Leaves:
    """What the walk found, in order."""

    paths: list[str] = field(default_factory=list)
    tensors: list[torch.Tensor] = field(default_factory=list)
    values: list[JsonValue] = field(default_factory=list)
    value_paths: list[str] = field(default_factory=list)
    known: dict[str, Codec] = field(default_factory=dict)
    """The classes of the objects."""
    wholes: list[torch.Tensor] = field(default_factory=list)
    """Tensors that are made of tensors, each after those inside it."""
    whole_paths: list[str] = field(default_factory=list)
    constant: bool = False
    """Whether values stay in the tree, which may then hold no tensor."""


def plant(node: object, leaves: Leaves, path: str = "", depth: int = 0) -> JsonValue:
    """The tree of `node`; leaves go to `leaves`. Raises UnsupportedLeaf that names path and type."""
    if depth > DEPTH_LIMIT:
        raise UnsupportedLeaf(
            _beginning(path),
            "container nested too deeply",
            f"{DEPTH_LIMIT} levels are the limit; does it hold itself?",
        )
    if isinstance(node, torch.Tensor):
        return _plant_tensor(node, leaves, path, depth)
    if isinstance(node, dict) and type(node) in _MAPPINGS:
        return {_MAPPINGS[type(node)]: _plant_mapping(node, leaves, path, depth)}
    if isinstance(node, list | tuple) and type(node) in _SEQUENCES and not values.is_run_of_numbers(node):
        return {_SEQUENCES[type(node)]: _plant_sequence(node, leaves, path, depth)}
    codec = None if values.is_plain(node) else classes.codec_of(node)
    return _plant_value(node, leaves, path) if codec is None else _plant_object(node, codec, leaves, path, depth)


def _beginning(path: str) -> str:
    """Of a path that is as long as its nest is deep."""
    keys = path.split(".")
    return ".".join(keys[:4]) + "…"


def _plant_mapping(node: Mapping[Any, Any], leaves: Leaves, path: str, depth: int) -> list[JsonValue]:
    pairs: list[JsonValue] = []
    row: list[str] = []
    before = f"{path}." if path else ""
    for key, child in node.items():
        if type(child) in wholes.PLAIN and type(key) is str and _takes(leaves, depth):
            row.append(_text(key, path))
            leaves.paths.append(before + key)
            leaves.tensors.append(child)
        else:
            row = _end_row(row, pairs, leaves)
            pairs.append([_key(key, leaves, path), plant(child, leaves, join(path, key), depth + 1)])
    _end_row(row, pairs, leaves)
    return pairs


def _end_row(keys: list[str], pairs: list[JsonValue], leaves: Leaves) -> list[str]:
    """Tensors that followed each other, as a run if they are many; a new row."""
    first = len(leaves.tensors) - len(keys)
    if len(keys) >= RUN:
        pairs.append([keys, {"R": first}])  # type: ignore[list-item]
    else:
        pairs.extend([key, {"T": first + at}] for at, key in enumerate(keys))
    return []


def _plant_sequence(node: Sequence[Any], leaves: Leaves, path: str, depth: int) -> list[JsonValue]:
    children: list[JsonValue] = []
    row = 0
    for at, child in enumerate(node):
        if type(child) in wholes.PLAIN and _takes(leaves, depth):
            row += 1
            leaves.paths.append(join(path, at))
            leaves.tensors.append(child)
        else:
            children += _row(row, leaves)
            row = 0
            children.append(plant(child, leaves, join(path, at), depth + 1))
    return [*children, *_row(row, leaves)]


def _row(count: int, leaves: Leaves) -> list[JsonValue]:
    first = len(leaves.tensors) - count
    return [{"R": [first, count]}] if count >= RUN else [{"T": first + at} for at in range(count)]


def _takes(leaves: Leaves, depth: int) -> bool:
    """Whether a child may be a tensor here; `plant` says why not."""
    return depth < DEPTH_LIMIT and not leaves.constant


def _plant_value(node: object, leaves: Leaves, path: str) -> JsonValue:
    encoded = values.encode(node, path)
    if leaves.constant:
        return {"K": encoded}
    leaves.values.append(encoded)
    leaves.value_paths.append(path)
    return {"V": len(leaves.values) - 1}


def _plant_object(node: object, codec: Codec, leaves: Leaves, path: str, depth: int) -> JsonValue:
    parts = _parts(node, codec, leaves, path)
    is_one = codec.is_value and not isinstance(parts, list)
    planted = _plant_value(parts, leaves, path) if is_one else plant(parts, leaves, path, depth + 1)
    return {"c": [codec.name, planted]}


def _parts(thing: object, codec: Codec, leaves: Leaves, path: str) -> Any:
    _learn(codec, leaves, path)
    try:
        return codec.take_apart(thing) if codec.take_apart else thing
    except UNFIT as error:
        raise UnsupportedLeaf(path, f"{type(thing).__name__} ({error})") from error


def _learn(codec: Codec, leaves: Leaves, path: str) -> None:
    """Of two classes of one name, an object of the second would come back as one of the first."""
    holder = classes.holder_of(codec.name, leaves.known)
    if holder is not None and holder.kind is not codec.kind:
        short = codec.kind.__name__
        raise UnsupportedLeaf(
            path,
            short,
            f"its name {codec.name!r} is another class's, too: give it one by "
            f"checkpointheal.register_class({short}, name=…), the same on both sides",
        )
    leaves.known[codec.name] = codec


def _plant_tensor(tensor: torch.Tensor, leaves: Leaves, path: str, depth: int) -> JsonValue:
    if leaves.constant:
        remedy = "have __tensor_flatten__ name it among the tensors inside"
        raise UnsupportedLeaf(path, "tensor among the constants of another tensor", remedy)
    if wholes.is_leaf(tensor):
        leaves.paths.append(path)
        leaves.tensors.append(tensor)
        return {"T": len(leaves.tensors) - 1}
    if wholes.is_sharded(tensor):
        planted = _plant_sharded(tensor, leaves, path, depth)
    elif wholes.is_dtensor(tensor):
        local = plant(wholes.local_of(tensor), leaves, path, depth + 1)
        planted = {"dt": [_outer(tensor, path), local]}
    else:
        codec = classes.codec_of(tensor)
        if codec is None:
            raise UnsupportedLeaf(path, wholes.told(tensor), wholes.helps(tensor) or UnsupportedLeaf.REMEDY)
        if codec.take_apart:
            return _plant_object(tensor, codec, leaves, path, depth)
        planted = _plant_wrapper(tensor, codec, leaves, path, depth)
    leaves.wholes.append(tensor)
    leaves.whole_paths.append(path)
    return planted


def _plant_sharded(tensor: Any, leaves: Leaves, path: str, depth: int) -> JsonValue:
    shards = tensor.local_shards()
    planted = [plant(shard.tensor, leaves, join(path, i), depth + 1) for i, shard in enumerate(shards)]
    return {"sh": [wholes.sharding_of(tensor).model_dump(mode="json"), planted]}


def _plant_wrapper(tensor: Any, codec: Codec, leaves: Leaves, path: str, depth: int) -> JsonValue:
    """What torch calls the context is constant: it belongs to the tree, so that it is the same wherever one fits."""
    _learn(codec, leaves, path)
    try:
        names, context = tensor.__tensor_flatten__()
    except UNFIT as error:
        raise UnsupportedLeaf(path, f"{type(tensor).__name__} ({error})") from error
    facts = plant(context, Leaves(known=leaves.known, constant=True), f"{path} (its context)", depth + 1)
    inner: list[JsonValue] = [[n, plant(getattr(tensor, n), leaves, join(path, n), depth + 1)] for n in names]
    return {"x": [codec.name, facts, {"d": inner}, _outer(tensor, path)]}


def _outer(tensor: torch.Tensor, path: str) -> JsonValue:
    try:
        return wholes.outer_of(tensor).model_dump(mode="json")
    except ValidationError as error:
        remedy = wholes.helps(tensor) or UnsupportedLeaf.REMEDY
        raise UnsupportedLeaf(path, f"{type(tensor).__name__} whose size is no number", remedy) from error


def join(path: str, key: object) -> str:
    """The dotted path of a child."""
    return f"{path}.{key}" if path else str(key)


def _key(key: object, leaves: Leaves, path: str) -> JsonValue:
    if type(key) is str:
        return _text(key, path)
    values.text(str(key), _whose(key, path))  # so that paths, too, can be written
    codec = None if values.is_plain(key) else classes.codec_of(key)
    if codec is not None and codec.take_apart and (codec.is_value or isinstance(key, Enum)):
        parts = _parts(key, codec, leaves, _whose(key, path))
        if isinstance(parts, list):
            raise UnsupportedLeaf(_whose(key, path), type(key).__name__, _KEYS)
        return {"en": [codec.name, values.encode(parts, _whose(key, path), _KEYS)]}
    return values.encode(key, _whose(key, path), _KEYS)


def _text(key: str, path: str) -> str:
    """Asked of every key at every commit: whose it is is told only where it is refused."""
    return key if key.isascii() else values.text(key, _whose(key, path))


def _whose(key: object, path: str) -> str:
    return f"{path or 'the state'} (its key {key!r})"
