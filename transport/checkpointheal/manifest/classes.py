"""Which classes may a state hold besides Python's and torch's own, and how is each taken apart and put together?

A class is known because it was registered, or because the target holds one: none is ever imported by a name that was
received. Must not know trees, nor where the parts go.
"""

import dataclasses
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, Flag
from typing import Any, TypeVar

import torch

from checkpointheal.errors import Misuse, UnknownClass
from checkpointheal.manifest import values

NAME_LIMIT = 256
"""Characters of a name that crosses."""

UNFIT = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError)
"""What a class raises that is given other parts than it is made of, or whose codec does not know it."""

C = TypeVar("C", bound=type)


@dataclass(frozen=True)
class Codec:
    """One class: the name by which it crosses, and its parts, which may be whatever a state may hold."""

    name: str
    kind: type
    take_apart: Callable[[Any], Any] | None = None
    """None, both: a tensor class that goes through `__tensor_flatten__`."""
    put_together: Callable[[Any], Any] | None = None
    may_read: bool = True
    """Whether putting it together may depend on what the tensors among its parts hold."""


Known = Mapping[str, Codec]
"""Classes by name: those that a target holds."""


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


def part_by_part(thing: Any, change: Callable[[Any], Any]) -> Any:
    """The object, made again of its changed parts; itself, where it has none that are known."""
    codec = None if values.is_plain(thing) else codec_of(thing)
    if codec is None:
        return thing
    if codec.take_apart and codec.put_together:
        return codec.put_together(change(codec.take_apart(thing)))
    names, context = thing.__tensor_flatten__()
    inner = {name: change(getattr(thing, name)) for name in names}
    return type(thing).__tensor_unflatten__(inner, context, thing.shape, thing.stride())


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
    inferred = _infer(cls, name)
    if inferred is None:
        raise Misuse(f"{cls.__name__} does not say what it is made of: pass take_apart= and put_together=")
    return inferred


def _infer(cls: type, name: str) -> Codec | None:
    """A class that says by itself what it is made of."""
    if cls in _OWN:
        return None
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
    return Codec(name, cls, kind, cls)


def _apart_queue(queue: deque[Any]) -> list[Any] | deque[Any]:
    """Where it is bounded, Python's own, which an older build puts together, too, but for the bound."""
    if queue.maxlen is None:
        return list(queue)
    _queue(type(queue), deque(maxlen=queue.maxlen))  # one that takes no bound could not be read again
    return deque(queue, queue.maxlen)


def _queue(cls: type, parts: Sequence[Any]) -> Any:
    made, bound = cls(parts), getattr(parts, "maxlen", None)
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


def _apart_default(thing: defaultdict[Any, Any]) -> list[Any]:
    if thing.default_factory not in _FACTORIES.values():
        raise TypeError("its default factory is none of Python's own containers and numbers")
    word = next(word for word, factory in _FACTORIES.items() if factory is thing.default_factory)
    return [word, dict(thing)]


TEXTS = (str, bytes, bytearray, memoryview, range)
"""Sequences that are no nest of parts."""
_OWN = frozenset((dict, OrderedDict, Counter, list, tuple, torch.Tensor, torch.nn.Parameter))
"""Containers and tensors that a tree has its own words for."""
_FACTORIES: Mapping[str, Callable[[], Any] | None] = {
    "": None, "int": int, "float": float, "bool": bool, "str": str, "list": list, "dict": dict, "set": set,
}  # fmt: skip
_BY_CLASS: dict[type, Codec] = {}
_BY_NAME: dict[str, Codec] = {}
_add(Codec("deque", deque, lambda thing: [thing.maxlen, list(thing)], lambda parts: deque(parts[1], parts[0])))
_add(
    Codec(
        "defaultdict",
        defaultdict,
        _apart_default,
        lambda parts: defaultdict(_FACTORIES[parts[0]], parts[1]),
    )
)
