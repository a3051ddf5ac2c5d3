"""How does a tagged tree become the nest of containers and objects that it was?

Whoever grows it says what stands for each leaf and each object. Must not trust the tree.
"""

import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from pydantic import JsonValue, ValidationError

from checkpointheal.contract.base import Frozen
from checkpointheal.contract.layout import Outer, Sharding
from checkpointheal.errors import BadFrame, ClassDiffers
from checkpointheal.manifest import values
from checkpointheal.manifest.classes import NAME_LIMIT, UNFIT, find
from checkpointheal.manifest.codec import Known
from checkpointheal.manifest.runs import run_of
from checkpointheal.manifest.tree import DEPTH_LIMIT, join

_EMPTY: Mapping[str, Callable[[], dict[Any, Any]]] = {"d": dict, "od": OrderedDict, "ct": Counter}
M = TypeVar("M", bound=Frozen)


class Giver:
    """What stands for leaves and objects: here, objects of known classes, and of distributed tensors what is here."""

    def __init__(self, tensors: Sequence[Any], plain: Sequence[Any], known: Known) -> None:
        self._tensors, self._plain, self._known = tensors, plain, known

    def tensor(self, index: int) -> Any:
        """Tensor i."""
        return self._tensors[index]

    def run(self, first: int, count: int) -> Sequence[Any]:
        """So many tensors from the first one on. Raises BadFrame where there are not so many."""
        if first + count > len(self._tensors):
            raise BadFrame(f"the tree names tensors {first} to {first + count - 1} of {len(self._tensors)}")
        return self._tensors[first : first + count]

    def value(self, index: int) -> Any:
        """Value i."""
        return self._plain[index]

    def thing(self, name: str, parts: Any, path: str) -> Any:
        """An object, given its parts. Raises UnknownClass, or ClassDiffers where it cannot be made of them."""
        codec = find(name, self._known, path)
        if codec.put_together is None:
            raise BadFrame(f"{path} is written as an object, but {name} is a tensor class")
        try:
            return codec.put_together(parts)
        except UNFIT as error:
            raise ClassDiffers(path, name, error) from error

    def wrapper(self, name: str, context: Any, inner: Mapping[str, Any], outer: Outer, path: str) -> Any:
        """A tensor made of tensors. Raises UnknownClass or BadFrame."""
        cls: Any = find(name, self._known, path).kind
        try:
            return as_outer(cls.__tensor_unflatten__(inner, context, torch.Size(outer.shape), outer.stride), outer)
        except UNFIT as error:
            raise BadFrame(f"{path} cannot be made of its tensors, as {name} ({error})") from error

    def distributed(self, local: Any, outer: Outer, path: str) -> Any:
        """A DTensor, given its local tensor."""
        return local

    def sharded(self, shards: list[Any], sharding: Sharding, path: str) -> Any:
        """A ShardedTensor, given the shards that are here."""
        return shards


def as_outer(tensor: torch.Tensor, outer: Outer) -> torch.Tensor:
    """The tensor as a parameter, or with its need of gradients, as it was."""
    if outer.parameter:
        return torch.nn.Parameter(tensor, requires_grad=outer.requires_grad)
    return tensor.requires_grad_(outer.requires_grad) if outer.requires_grad else tensor


def grow(tree: JsonValue, giver: Giver, path: str = "", depth: int = 0) -> Any:
    """The nest again. Raises BadFrame for what is no tree of ours, and what the giver raises."""
    if depth > DEPTH_LIMIT or not isinstance(tree, dict) or len(tree) != 1:
        raise BadFrame("the tree holds a node that is no node of ours")
    ((tag, content),) = tree.items()
    if tag in ("T", "V") and type(content) is int:
        return giver.tensor(content) if tag == "T" else giver.value(content)
    if tag == "K":
        return values.decode(content)
    if not isinstance(content, list):
        raise BadFrame(f"the tree holds a node tagged {tag!r} without children")
    if tag in ("l", "t"):
        grown = _sequence(content, giver, path, depth)
        return grown if tag == "l" else tuple(grown)
    if tag in _EMPTY:
        return _mapping(tag, content, giver, path, depth)
    if tag in _OBJECTS:
        return _object(tag, content, giver, path, depth)
    raise BadFrame(f"the tree holds a node tagged {tag!r}, which is none of ours")


def _sequence(content: list[JsonValue], giver: Giver, path: str, depth: int) -> list[Any]:
    grown: list[Any] = []
    for child in content:
        if (run := run_of(child)) is not None and depth < DEPTH_LIMIT:
            grown.extend(giver.run(*run))
        else:
            grown.append(grow(child, giver, join(path, len(grown)), depth + 1))
    return grown


def _mapping(tag: str, content: list[JsonValue], giver: Giver, path: str, depth: int) -> Any:
    made, count = _EMPTY[tag](), 0
    for pair in content:
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadFrame("the tree holds a mapping whose entries are no pairs")
        if isinstance(pair[0], list):
            found = _named_run(pair[0], pair[1], giver, depth)
            for name, tensor in found.items():  # a Counter's update would count
                made[name] = tensor
            count += len(pair[0])
            continue
        key = _key(pair[0], giver, path)
        if not _is_hashable(key):
            raise BadFrame(f"the tree holds a mapping with a {type(key).__name__} as a key")
        made[key] = grow(pair[1], giver, join(path, key), depth + 1)
        count += 1
    if len(made) != count:
        raise BadFrame("the tree holds a mapping that has a key twice")
    return made


def _named_run(keys: list[JsonValue], node: JsonValue, giver: Giver, depth: int) -> dict[Any, Any]:
    """A run of tensors by their keys."""
    run = run_of({"R": [node["R"], len(keys)]}) if isinstance(node, dict) and node.keys() == {"R"} else None
    if run is None or depth >= DEPTH_LIMIT or not all(type(key) is str for key in keys):
        raise BadFrame("the tree holds a mapping with keys in a row that name no tensors")
    found = dict(zip(keys, giver.run(*run), strict=True))
    if len(found) != len(keys):
        raise BadFrame("the tree holds a mapping that has a key twice")
    return found


def _is_hashable(key: object) -> bool:
    try:
        hash(key)  # a tuple says that it is hashable, whatever it holds
    except TypeError:
        return False
    return True


def _key(node: JsonValue, giver: Giver, path: str) -> Any:
    if isinstance(node, dict) and isinstance(parts := node.get("en"), list) and len(node) == 1 and len(parts) == 2:
        return giver.thing(_name(parts[0]), values.decode(parts[1]), path)
    return values.decode(node)


def _object(tag: str, content: list[JsonValue], giver: Giver, path: str, depth: int) -> Any:
    if len(content) != _OBJECTS[tag]:
        raise BadFrame(f"{path} is tagged {tag!r} with {len(content)} parts of {_OBJECTS[tag]}")
    if tag == "c":
        return giver.thing(_name(content[0]), grow(content[1], giver, path, depth + 1), path)
    if tag == "dt":
        return giver.distributed(grow(content[1], giver, path, depth + 1), _read(Outer, content[0], path), path)
    if tag == "sh":
        return _sharded(content, giver, path, depth)
    context = grow(content[1], giver, f"{path} (its context)", depth + 1)
    inner = grow(content[2], giver, path, depth + 1)
    if not isinstance(inner, dict):
        raise BadFrame(f"{path} is made of tensors without names")
    return giver.wrapper(_name(content[0]), context, inner, _read(Outer, content[3], path), path)


def _sharded(content: list[JsonValue], giver: Giver, path: str, depth: int) -> Any:
    sharding, nodes = _read(Sharding, content[0], path), content[1]
    if not isinstance(nodes, list) or len(nodes) != len(sharding.local):
        raise BadFrame(f"{path} has other shards than it says")
    shards = [grow(node, giver, join(path, i), depth + 1) for i, node in enumerate(nodes)]
    return giver.sharded(shards, sharding, path)


def _name(word: JsonValue) -> str:
    if not isinstance(word, str) or not 0 < len(word) <= NAME_LIMIT:
        raise BadFrame("the tree names a class by what is no name")
    return word


def _read(model: type[M], node: JsonValue, path: str) -> M:
    try:
        return model.model_validate_json(json.dumps(node))  # as JSON: a tuple is a list there
    except ValidationError as error:
        raise BadFrame(f"{path} is described as no {model.__name__} is: {error.error_count()} faults") from error


_OBJECTS: Mapping[str, int] = {"c": 2, "x": 4, "dt": 2, "sh": 2}
