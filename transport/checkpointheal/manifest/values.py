"""How does a plain value become JSON that gives exactly it back?

A tag for everything that JSON itself would change. No class is ever imported by a name that was received. Must not know
tensors.
"""

import base64
import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from pydantic import JsonValue

from checkpointheal.errors import BadFrame, UnsupportedLeaf


def encode(value: object, path: str, remedy: str = UnsupportedLeaf.REMEDY) -> JsonValue:
    """A plain value, tagged where JSON has no word for it.

    Raises UnsupportedLeaf that names path and type; `remedy` helps where it is no plain value.
    """
    if value is None or (isinstance(value, bool) and type(value) is bool):
        return value
    if isinstance(value, str) and type(value) is str:
        return text(value, path)
    if isinstance(value, tuple) and type(value) is tuple and not _are_ints(value):  # a mapping's key, such as (1, "x")
        return {"tu": [encode(each, path, remedy) for each in value]}
    encoder = _scalar if isinstance(value, np.generic) else _ENCODERS.get(type(value))
    if encoder is None:
        raise UnsupportedLeaf(path, type(value).__name__, remedy)
    try:
        return encoder(value)
    except (TypeError, ValueError) as error:
        raise UnsupportedLeaf(path, f"{type(value).__name__} ({error})", _helps(value)) from error


def _helps(value: Any) -> str:
    """What makes it one that can cross; of numbers, those that are too long are refused."""
    kind = getattr(value, "dtype", None)
    if kind is None:
        return "give hex() of so long a number, which is text"
    if kind.names:
        return "give its fields one by one, {name: it[name] for name in it.dtype.names}"
    return "give its tolist()" if kind.hasobject else "give a tensor of it"


def text(word: str, path: str) -> str:
    """Itself. Raises UnsupportedLeaf for half a surrogate pair, which no JSON of ours may hold."""
    if not word.isascii():
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise UnsupportedLeaf(path, "text that holds half a surrogate pair", _WHOLE) from error
    return word


def decode(node: JsonValue) -> object:
    """The value back, of the same type. Raises BadFrame for a tag that is not ours."""
    if node is None or isinstance(node, bool | str):
        return node
    if isinstance(node, dict) and len(node) == 1:
        ((tag, content),) = node.items()
        if tag in _DECODERS:
            try:
                return _DECODERS[tag](content)
            except _UNREADABLE as error:
                raise BadFrame(f"a value tagged {tag!r} cannot be read") from error
    raise BadFrame(f"a value is written {str(node)[:80]!r}, which is no value of ours")


def _float(value: float) -> JsonValue:
    if math.isnan(value):
        bits = struct.pack(">d", value).hex()
        return {"f": "nan" if bits == _NAN else f"nan:{bits}"}
    return {"f": value.hex() if math.isfinite(value) else repr(value)}


def _read_float(text: object) -> float:
    written = str(text)
    if written.startswith("nan:"):
        return float(struct.unpack(">d", bytes.fromhex(written[4:]))[0])
    return float(written) if written in ("inf", "-inf", "nan") else float.fromhex(written)


def word(name: object, kind: type) -> object:
    """What torch calls so. Raises ValueError where it is of another kind."""
    found = getattr(torch, str(name), None)
    if not isinstance(found, kind):
        raise ValueError(f"{name!r} is no {kind.__name__} of this torch")
    return found


_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError, struct.error)
_WHOLE = "where os.fsdecode() made it of a file's name, keep os.fsencode() of it, which is bytes"
_NAN = struct.pack(">d", math.nan).hex()
ELEMENT = re.compile(r"[<>|=][biufcmMSUV]\d{1,9}(\[\d{0,9}[A-Za-z]{1,2}\])?")
"""A numpy dtype as `dtype.str` writes it: of anything else numpy would read a program's expression."""
_SHORT = 1 << 10
"""Bits of a number whose digits need no counting."""
_RUN = 32
_RUNS = (list, tuple)


def comes_back(dtype: np.dtype[Any]) -> bool:
    """Whether numpy reads what it writes of it as the same: of a dtype from outside it may tell its size alone."""
    return np.dtype(dtype.str) == dtype


def _array(value: np.ndarray) -> JsonValue:
    if value.dtype.hasobject or value.dtype.names:
        raise TypeError(f"array of {value.dtype}")
    if not comes_back(value.dtype):
        raise TypeError(f"of {value.dtype}, which numpy writes {value.dtype.str!r}, as it does another one")
    return {
        "np": [value.dtype.str, list(value.shape), base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()]
    }


def _read_array(parts: list[JsonValue]) -> Any:
    kind, shape, content = parts
    if not isinstance(shape, list) or any(type(each) is not int or each < 0 for each in shape):
        raise ValueError(f"{shape!r} is no shape")
    if not isinstance(kind, str) or not ELEMENT.fullmatch(kind):
        raise ValueError(f"{kind!r} is no dtype of an array")
    raw = base64.b64decode(str(content), validate=True)
    return np.frombuffer(raw, dtype=np.dtype(kind)).reshape(shape).copy()  # type: ignore[arg-type]


def _numbers(value: Iterable[int]) -> list[JsonValue]:
    """Raises ValueError for one of more digits than can be read again."""
    return [number if number.bit_length() < _SHORT else int(str(number)) for number in value]


def _scalar(value: object) -> JsonValue:
    return {"n": _array(np.asarray(value))}


_ENCODERS: Mapping[type, Callable[..., JsonValue]] = {
    int: lambda value: {"i": str(value)},  # who reads it reads no more digits than str() writes
    float: _float,
    complex: lambda value: {"c": [_float(value.real), _float(value.imag)]},
    bytes: lambda value: {"b": base64.b64encode(value).decode()},
    list: lambda value: {"ints": _numbers(value)},
    tuple: lambda value: {"run": _numbers(value)},
    np.ndarray: _array,
    torch.Size: lambda value: {"size": list(value)},
    torch.dtype: lambda value: {"dtype": str(value).removeprefix("torch.")},
    torch.device: lambda value: {"device": str(value)},
    torch.layout: lambda value: {"layout": str(value).removeprefix("torch.")},
    torch.memory_format: lambda value: {"format": str(value).removeprefix("torch.")},
}
PLAIN: Mapping[type, object] = {**dict.fromkeys((type(None), bool, str)), **_ENCODERS}
"""Every type that is a value, numpy's scalars apart."""
_DECODERS: Mapping[str, Callable[..., object]] = {
    "i": lambda text: int(str(text)),
    "f": _read_float,
    "c": lambda parts: complex(_read_float(parts[0]["f"]), _read_float(parts[1]["f"])),
    "b": lambda text: base64.b64decode(text, validate=True),
    "ints": lambda numbers: [int(number) for number in numbers],
    "run": lambda numbers: tuple(int(number) for number in numbers),
    "np": _read_array,
    "n": lambda array: _read_array(array["np"])[()],
    "size": torch.Size,
    "dtype": lambda name: word(name, torch.dtype),
    "tu": lambda parts: tuple(decode(part) for part in parts),
    "device": lambda text: torch.device(str(text)),
    "layout": lambda name: word(name, torch.layout),
    "format": lambda name: word(name, torch.memory_format),
}


def is_plain(thing: object) -> bool:
    """Whether it is a value by its type; what it holds may still be refused."""
    return type(thing) in PLAIN or isinstance(thing, np.generic)


def is_one(thing: object) -> bool:
    """Whether it can be written as one value, in a tuple of such or as a key."""
    if type(thing) is tuple:
        return all(map(is_one, thing))
    return is_plain(thing) and not isinstance(thing, list | np.ndarray)


def is_run_of_numbers(node: object) -> bool:
    """A long list or tuple of plain ints, such as a random stream's words: one value instead of hundreds of leaves."""
    return isinstance(node, list | tuple) and type(node) in _RUNS and len(node) >= _RUN and _are_ints(node)


def _are_ints(node: Iterable[object]) -> bool:
    return all(type(each) is int for each in node)
