"""How does a nest of containers become a tagged tree, and back?

Tags: d dict, od OrderedDict, ct Counter, l list, t tuple; leaves are {T: i} for tensor i and {V: i} for value i. Order
is kept. Must not know what a tensor is made of.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import JsonValue

from checkpointheal.errors import BadFrame, UnsupportedLeaf
from checkpointheal.manifest import values

DEPTH_LIMIT = 64
_SEQUENCES: Mapping[type, str] = {list: "l", tuple: "t"}
_MAPPINGS: Mapping[type, str] = {dict: "d", OrderedDict: "od", Counter: "ct"}
_EMPTY: Mapping[str, Callable[[], dict[Any, Any]]] = {"d": dict, "od": OrderedDict, "ct": Counter}


@dataclass
class Leaves:
    """What the walk found, in order."""

    tensors: list[tuple[str, torch.Tensor]] = field(default_factory=list)
    values: list[JsonValue] = field(default_factory=list)
    value_paths: list[str] = field(default_factory=list)


def plant(node: object, leaves: Leaves, path: str = "", depth: int = 0) -> JsonValue:
    """The tree of `node`; leaves go to `leaves`. Raises UnsupportedLeaf that names path and type."""
    if depth > DEPTH_LIMIT:
        raise UnsupportedLeaf(path, "container nested too deeply", f"{DEPTH_LIMIT} levels are the limit")
    if isinstance(node, torch.Tensor):
        leaves.tensors.append((path, node))
        return {"T": len(leaves.tensors) - 1}
    if isinstance(node, dict) and type(node) in _MAPPINGS:
        pairs: list[JsonValue] = [
            [_key(key, path), plant(child, leaves, _join(path, key), depth + 1)] for key, child in node.items()
        ]
        return {_MAPPINGS[type(node)]: pairs}
    if isinstance(node, list | tuple) and type(node) in _SEQUENCES and not values.is_run_of_numbers(node):
        children = [plant(child, leaves, _join(path, i), depth + 1) for i, child in enumerate(node)]
        return {_SEQUENCES[type(node)]: children}
    leaves.values.append(values.encode(node, path))
    leaves.value_paths.append(path)
    return {"V": len(leaves.values) - 1}


def grow(tree: JsonValue, tensor: Callable[[int], Any], value: Callable[[int], Any], depth: int = 0) -> Any:
    """The containers of `tree` again, with what the two callables give for each leaf. Raises BadFrame."""
    if depth > DEPTH_LIMIT or not isinstance(tree, dict) or len(tree) != 1:
        raise BadFrame("the tree holds a node that is no node of ours")
    ((tag, content),) = tree.items()
    if tag in ("T", "V") and type(content) is int:
        return tensor(content) if tag == "T" else value(content)
    if not isinstance(content, list):
        raise BadFrame(f"the tree holds a node tagged {tag!r} without children")
    if tag in ("l", "t"):
        grown = [grow(child, tensor, value, depth + 1) for child in content]
        return grown if tag == "l" else tuple(grown)
    if tag in _EMPTY:
        pairs = [_pair(child) for child in content]
        made = _EMPTY[tag]()
        for key, child in pairs:
            made[values.decode(key)] = grow(child, tensor, value, depth + 1)
        if len(made) != len(pairs):
            raise BadFrame("the tree holds a mapping that has a key twice")
        return made
    raise BadFrame(f"the tree holds a node tagged {tag!r}, which is none of ours")


def _pair(child: JsonValue) -> tuple[JsonValue, JsonValue]:
    if not isinstance(child, list) or len(child) != 2:
        raise BadFrame("the tree holds a mapping whose entries are no pairs")
    return child[0], child[1]


def _key(key: object, path: str) -> JsonValue:
    if type(key) is str:
        return key
    return values.encode(key, f"{path or 'the state'} (its key {key!r})")


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)
