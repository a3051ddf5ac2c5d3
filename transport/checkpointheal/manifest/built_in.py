"""How do values of Python's, numpy's and torch's own cross for which JSON and trees have no word?

By parts that are plain, and exactly. Parts may come from anybody: none is believed to be of its type, and nothing is
made that is larger than what came. Must not know classes of a user's own, nor sets, whose elements may be such.
"""

import functools
import zoneinfo
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, TypeVar
from uuid import UUID, SafeUUID

import numpy as np
import torch

from checkpointheal.manifest import values
from checkpointheal.manifest.codec import Codec

T = TypeVar("T")


def of(kind: type[T], part: Any) -> T:
    """The part. Raises TypeError where it is of another type: `bytearray` of a number would be that many bytes."""
    if type(part) is not kind:
        raise TypeError(f"a {type(part).__name__} in place of a {kind.__name__}")
    return part


def _three(kind: Callable[..., T]) -> Callable[[Any], T]:
    def make(parts: Any) -> T:
        first, second, third = parts if isinstance(parts, list) else of(tuple, parts)
        return kind(first, second, third)

    return make


def _ends(it: range | slice) -> tuple[Any, ...] | list[Any]:
    parts = (it.start, it.stop, it.step)
    return parts if values.is_one(parts) else list(parts)


@functools.cache
def _zones() -> frozenset[str]:
    """What is asked for by a name that came is one of these: `ZoneInfo` looks for others in packages."""
    return frozenset(zoneinfo.available_timezones())


def _zone(zone: tzinfo | None) -> Any:
    """A key, or an offset and what it was named."""
    if zone is None:
        return None
    if type(zone) is timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        return (*_span(offset), *name)
    if type(zone) is zoneinfo.ZoneInfo and zone.key in _zones():
        return zone.key
    raise TypeError(
        f"its time zone is a {type(zone).__name__} that nobody else has: use datetime.timezone, or zoneinfo.ZoneInfo "
        "by its key"
    )


def _of_zone(parts: Any) -> tzinfo | None:
    if parts is None:
        return None
    if isinstance(parts, tuple):
        days, seconds, micros, *name = parts
        return timezone(timedelta(days, seconds, micros), *name)
    if of(str, parts) not in _zones():
        raise LookupError(f"there is no time zone {parts!r} here")
    return zoneinfo.ZoneInfo(parts)


def _span(it: timedelta) -> tuple[int, int, int]:
    return it.days, it.seconds, it.microseconds


def _clock(it: datetime | time) -> tuple[Any, ...]:
    return it.hour, it.minute, it.second, it.microsecond, it.fold, _zone(it.tzinfo)


def _moment(parts: Any) -> datetime:
    year, month, day, hour, minute, second, micros, fold, zone = of(tuple, parts)
    return datetime(year, month, day, hour, minute, second, micros, tzinfo=_of_zone(zone), fold=fold)


def _time(parts: Any) -> time:
    hour, minute, second, micros, fold, zone = of(tuple, parts)
    return time(hour, minute, second, micros, tzinfo=_of_zone(zone), fold=fold)


def _fraction(parts: Any) -> Fraction:
    numerator, denominator = of(tuple, parts)
    return Fraction(of(int, numerator), of(int, denominator))


def _identifier(parts: Any) -> UUID:
    text, safe = of(tuple, parts)
    return UUID(of(str, text), is_safe=SafeUUID(safe))


def _dtype(it: np.dtype[Any]) -> str:
    if not values.comes_back(it):
        raise TypeError(f"numpy writes it {it.str!r}, as it does another one")
    return it.str


def _of_dtype(text: Any) -> np.dtype[Any]:
    if text != "|O" and not values.ELEMENT.fullmatch(of(str, text)):
        raise ValueError(f"{text!r} is no dtype")
    made: np.dtype[Any] = np.dtype(text)
    return made


def _apart_default(thing: defaultdict[Any, Any]) -> list[Any]:
    if thing.default_factory not in _FACTORIES.values():
        raise TypeError("its default factory is none of Python's own containers and numbers")
    word = next(word for word, factory in _FACTORIES.items() if factory is thing.default_factory)
    return [word, dict(thing)]


_FACTORIES: Mapping[str, Callable[[], Any] | None] = {
    "": None, "int": int, "float": float, "bool": bool, "str": str, "list": list, "dict": dict, "set": set,
}  # fmt: skip


def _value(name: str, kind: type, take_apart: Callable[[Any], Any], put_together: Callable[[Any], Any]) -> Codec:
    return Codec(name, kind, take_apart, put_together, may_read=False, is_value=True)


def _worded(name: str, kind: type, make: Callable[[Any], Any], word: Callable[[Any], str] = str) -> Codec:
    return _value(name, kind, word, lambda text: make(of(str, text)))


DTYPE = _value("numpy.dtype", np.dtype, _dtype, _of_dtype)
"""Of every dtype: each has a class of its own."""
CODECS: Sequence[Codec] = (
    Codec(
        "deque",
        deque,
        lambda thing: [thing.maxlen, list(thing)],
        lambda parts: deque(of(list, parts[1]), parts[0]),
        may_read=False,
    ),
    Codec(
        "defaultdict",
        defaultdict,
        _apart_default,
        lambda parts: defaultdict(_FACTORIES[parts[0]], of(dict, parts[1])),
        may_read=False,
    ),
    _value("builtins.range", range, _ends, _three(range)),
    _value("builtins.slice", slice, _ends, _three(slice)),
    _value("builtins.bytearray", bytearray, bytes, lambda part: bytearray(of(bytes, part))),
    _worded("datetime.date", date, date.fromisoformat),
    _value("datetime.datetime", datetime, lambda it: (it.year, it.month, it.day, *_clock(it)), _moment),
    _value("datetime.time", time, _clock, _time),
    _value("datetime.timedelta", timedelta, _span, _three(timedelta)),
    _value("datetime.timezone", timezone, _zone, lambda parts: _of_zone(of(tuple, parts))),
    _value("zoneinfo.ZoneInfo", zoneinfo.ZoneInfo, _zone, lambda key: _of_zone(of(str, key))),
    *(_worded(f"pathlib.{kind.__name__}", kind, kind) for kind in (PosixPath, PurePosixPath)),
    *(_worded(f"pathlib.{kind.__name__}", kind, kind) for kind in (WindowsPath, PureWindowsPath)),
    _value("fractions.Fraction", Fraction, lambda it: (it.numerator, it.denominator), _fraction),
    _worded("decimal.Decimal", Decimal, Decimal),
    _value("uuid.UUID", UUID, lambda it: (it.hex, it.is_safe.value), _identifier),
    _worded(
        "torch.qscheme",
        torch.qscheme,
        lambda text: values.word(text, torch.qscheme),
        lambda it: str(it).removeprefix("torch."),
    ),
    DTYPE,
)
