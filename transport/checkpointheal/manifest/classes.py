"""Which classes may a state hold besides Python's and torch's own, and how is each taken apart and put together?

A class is known because it was registered, or because the target holds one: none is ever imported by a name that was
received. Must not know trees, nor where the parts go.
"""

import dataclasses
import json
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from enum import Enum, Flag
from functools import partial
from typing import Any, TypeVar

import torch

from checkpointheal.errors import Misuse, UnknownClass, UnsupportedLeaf
from checkpointheal.manifest import values
from checkpointheal.manifest.built_in import CODECS, DTYPE, of
from checkpointheal.manifest.codec import Codec, Known

NAME_LIMIT = 256
"""Characters of a name that crosses."""

UNFIT = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError)
"""What a class raises that is given other parts than it is made of, or whose codec does not know it."""

C = TypeVar("C", bound=type)


def register_class(
    cls: C,
    *,
    name: str | None = None,
    take_apart: Callable[[Any], Any] | None = None,
    put_together: Callable[[Any], Any] | None = None,
) -> C:
    """Let objects of this very class cross, and be made again where there is no target that holds one.

    `take_apart` gives what a state dict may hold (containers, tensors, plain values), `put_together` makes an object of
    it. An enum, a named tuple, a dataclass, a mapping, a sequence and a tensor class with `__tensor_flatten__` need
    neither. `name` crosses and is the same on both sides; by default it is module and name of the class. Registering
    again replaces. Returns the class, so that it decorates. Raises Misuse.
    """
    codec = _codec(cls, name or name_of(cls), take_apart, put_together)
    holder = _BY_NAME.get(codec.name)
    if holder is not None and holder.kind is not cls:
        raise Misuse(f"the name {codec.name!r} is {name_of(holder.kind)}'s: pass another name=")
    if cls in _BY_CLASS:
        del _BY_NAME[_BY_CLASS[cls].name]
    _add(codec)
    return cls


def codec_of(thing: object) -> Codec | None:
    """How this object crosses: as its class was registered, else as it says by itself; None: not at all."""
    cls = type(thing)
    codec = _BY_CLASS.get(cls)
    return codec if codec is not None or dataclasses.is_dataclass(cls) else _infer(cls, name_of(cls))


def comes_back(thing: object) -> bool:
    """Whether it crosses, and is made again also where nobody holds one of its class."""
    codec = _BY_CLASS.get(type(thing))
    if codec is None or codec.take_apart is None:
        return type(thing) in _OWN
    try:
        codec.take_apart(thing)
    except UNFIT:
        return False
    return True


def find(name: str, known: Known, path: str) -> Codec:
    """The class of this name. Raises UnknownClass."""
    codec = holder_of(name, known)
    if codec is None:
        raise UnknownClass(path, name)
    return codec


def holder_of(name: str, known: Known) -> Codec | None:
    """The class that has this name, if one has."""
    return _BY_NAME.get(name) or known.get(name)


def name_of(cls: type) -> str:
    """By what an unregistered class goes."""
    return f"{cls.__module__}.{cls.__qualname__}"


def _codec(cls: type, name: str, take_apart: Any, put_together: Any) -> Codec:
    if cls in _OWN or cls in values.PLAIN:
        raise Misuse(f"{cls!r} needs no registering: it crosses as it is")
    if not 0 < len(name) <= NAME_LIMIT:
        raise Misuse(f"a name of {len(name)} characters, 1 to {NAME_LIMIT} may cross")
    if (take_apart is None) != (put_together is None):
        raise Misuse(f"{cls.__name__} was given half a codec: pass both take_apart= and put_together=")
    if take_apart is not None:
        return Codec(name, cls, take_apart, put_together)
    if cls in _BUILT_IN:
        return dataclasses.replace(_BUILT_IN[cls], name=name)
    inferred = _infer(cls, name)
    if inferred is None:
        raise Misuse(f"{cls.__name__} does not say what it is made of: pass take_apart= and put_together=")
    return inferred


def _infer(cls: type, name: str) -> Codec | None:
    """A class that says by itself what it is made of."""
    if cls in _OWN:
        return None
    if issubclass(cls, DTYPE.kind):
        return DTYPE
    if issubclass(cls, Enum):
        return Codec(name, cls, _member, lambda member: cls[member] if isinstance(member, str) else cls(member))
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return Codec(
            name,
            cls,
            lambda each: dict(zip(cls._fields, each, strict=True)),
            lambda parts: cls(**parts),
            may_read=False,
        )
    if issubclass(cls, torch.Tensor):
        flat = hasattr(cls, "__tensor_flatten__") and hasattr(cls, "__tensor_unflatten__")
        return Codec(name, cls) if flat else None
    if dataclasses.is_dataclass(cls):
        return Codec(name, cls, _fields, lambda parts: _of_fields(cls, parts))
    if issubclass(cls, Mapping):
        return _container(cls, name, dict)
    sequence = issubclass(cls, Sequence) and not issubclass(cls, TEXTS)
    made = _container(cls, name, list) if sequence else None
    if made and issubclass(cls, deque):
        return Codec(name, cls, _apart_queue, lambda parts: _queue(cls, parts))
    return made


def _container(cls: type, name: str, kind: type) -> Codec | None:
    """One that is made of its parts alone; `array.array` wants a word besides, and would be written to no avail."""
    try:
        cls(kind())
    except UNFIT:
        return None
    return Codec(name, cls, kind, lambda parts: cls(of(kind, parts)))


def _apart_queue(queue: deque[Any]) -> list[Any] | deque[Any]:
    """Where it is bounded, Python's own, which an older build puts together, too, but for the bound."""
    if queue.maxlen is None:
        return list(queue)
    _queue(type(queue), deque(maxlen=queue.maxlen))  # one that takes no bound could not be read again
    return deque(queue, queue.maxlen)


def _queue(cls: type, parts: Sequence[Any]) -> Any:
    bound = parts.maxlen if isinstance(parts, deque) else None
    made = cls(parts if isinstance(parts, deque) else of(list, parts))
    return made if bound is None or made.maxlen == bound else cls(parts, maxlen=bound)


def _member(member: Any) -> Any:
    return member.value if isinstance(member, Flag) else member.name


def _fields(thing: Any) -> dict[str, Any]:
    """All of them, but for one that neither its constructor took nor anybody has set yet."""
    fields = dataclasses.fields(thing)
    return {field.name: getattr(thing, field.name) for field in fields if field.init or hasattr(thing, field.name)}


def _of_fields(cls: type, parts: Mapping[str, Any]) -> Any:
    """Past a frozen class's own setter. An older build left out what the constructor does not take: as made, then."""
    later = {field.name for field in dataclasses.fields(cls) if not field.init}
    made = cls(**{name: part for name, part in parts.items() if name not in later})
    for name in later & parts.keys():
        object.__setattr__(made, name, parts[name])
    return made


def _add(codec: Codec) -> None:
    _BY_CLASS[codec.kind] = _BY_NAME[codec.name] = codec


def _apart_set(things: Collection[Any]) -> tuple[Any, ...] | list[Any]:
    """In one order wherever it is, whatever the hashes are there."""
    ordered = sorted(things, key=_rank)
    return tuple(ordered) if values.is_one(tuple(ordered)) else ordered


def _rank(thing: Any) -> str:
    """As it is written. What cannot be is refused where that is tried."""
    if type(thing) in (list, tuple):
        return f"[{','.join(map(_rank, thing))}]"
    if type(thing) is dict:
        return _rank(list(thing.items()))
    if values.is_plain(thing):
        with suppress(UnsupportedLeaf):
            return json.dumps(values.encode(thing, ""))
        return ""
    codec = codec_of(thing)
    if codec is None or codec.take_apart is None:
        raise TypeError(f"it holds a {type(thing).__name__}, which has no place of its own among others: give a list")
    return f"{codec.name}{_rank(codec.take_apart(thing))}"


def _set(kind: Callable[[Any], Collection[Any]], parts: Any) -> Collection[Any]:
    made = kind(parts if isinstance(parts, list) else of(tuple, parts))
    if len(made) != len(parts):
        raise ValueError("it has an element twice")
    return made


TEXTS = (str, bytes, bytearray, memoryview, range)
"""Sequences that are no nest of parts."""
_OWN = frozenset((dict, OrderedDict, Counter, list, tuple, torch.Tensor, torch.nn.Parameter))
"""Containers and tensors that a tree has its own words for."""
_BY_CLASS: dict[type, Codec] = {}
_BY_NAME: dict[str, Codec] = {}
for _kind in (set, frozenset):
    _add(Codec(f"builtins.{_kind.__name__}", _kind, _apart_set, partial(_set, _kind), may_read=False, is_value=True))
for _codec_of_ours in CODECS:
    _add(_codec_of_ours)
_BUILT_IN: Mapping[type, Codec] = dict(_BY_CLASS)
