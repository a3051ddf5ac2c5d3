"""How does an input become another one that reaches further than one with random bytes in it?

JSON is changed as JSON and conversations message by message. The same seed makes the same change.
"""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from random import Random
from typing import Any

from fuzz.scripts import pack, unpack, with_lengths

Bytes = Callable[[bytes, int], bytes]
"""Changes bytes as bytes, up to a length."""
_WORDS = (
    None, True, False, 0, 1, -1, 2, 7, 63, 64, 65, 255, 2**31, 2**32 - 1, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 10**30,
    0.5, 1e308, "", "x", "x" * 300, "1" * 5000, "0" * 32, "float32", "int4", "bfloat16", "nan", "inf", "0x1p+99999",
    "cpu", "cuda:99", "Shard(dim=0)", "rank:0/cpu", "dtensor", "parameter", "deque", "defaultdict", "int", "|V0", "|O",
    ">f8", "(2,)i4", "AAAAAAAAAAA=", [], {}, [0], [[]], [0, 0], [2**62, 2**62], [-1],
)  # fmt: skip
_TAGS = (
    "T", "V", "R", "K", "d", "od", "ct", "l", "t", "c", "x", "dt", "sh", "en", "i", "f", "b", "ints", "run", "tu", "np",
    "n", "size", "dtype", "device", "layout", "format",
)  # fmt: skip
Place = tuple[Any, Any]


def conversation(raw: bytes, limit: int, random: Random, as_bytes: Bytes) -> bytes:
    """A byte of modes and a script, one message of it changed."""
    messages = list(unpack(raw[1:]))
    if not messages or random.random() < 0.1:
        return as_bytes(raw, limit)
    at = random.randrange(len(messages))
    match random.randrange(10):
        case 0:
            messages.insert(at, random.choice(messages))
        case 1:
            del messages[at]
        case 2:
            other = random.randrange(len(messages))
            messages[at], messages[other] = messages[other], messages[at]
        case 3:
            return bytes([random.randrange(256)]) + raw[1:]
        case _:
            messages[at] = document(messages[at], limit, random, as_bytes)
    if random.random() < 0.9:
        messages = with_lengths(messages)
    return (raw[:1] + pack(messages))[:limit]


def table(raw: bytes, limit: int, random: Random, as_bytes: Bytes) -> bytes:
    """A byte of modes and a script of scripts: one of them changed, given to another one too, or lost."""
    scripts = list(unpack(raw[1:]))
    if not scripts or random.random() < 0.1:
        return as_bytes(raw, limit)
    at = random.randrange(len(scripts))
    match random.randrange(10):
        case 0:
            scripts[at] = random.choice(scripts)
        case 1:
            scripts[at] = b""
        case 2:
            return bytes([random.randrange(256)]) + raw[1:]
        case _:
            scripts[at] = conversation(b"\0" + scripts[at], limit, random, as_bytes)[1:]
    return (raw[:1] + pack(scripts))[:limit]


def document(raw: bytes, limit: int, random: Random, as_bytes: Bytes) -> bytes:
    """JSON with a few of its parts changed; what is no JSON, as bytes."""
    if random.random() < 0.1:
        return as_bytes(raw, limit)
    try:
        return _changed(json.loads(raw), random)[:limit]
    except (ValueError, RecursionError):
        return as_bytes(raw, limit)


def _changed(whole: Any, random: Random) -> bytes:
    holder = [whole]
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        if random.random() < 0.15:
            _change_row(random.choice([*_columns(holder)] or [[]]), random)
            continue
        places = list(_places(holder))
        _change(random.choice(places), [where[index] for where, index in places], random)
    return json.dumps(holder[0]).encode()


def _places(node: Any) -> Iterator[Place]:
    items: Any = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in list(items):
        yield node, key
        yield from _places(child)


def _columns(node: Any) -> Iterator[list[Any]]:
    """What stands in columns: lists of one length, side by side in an object."""
    for where, key in _places(node):
        found = where[key]
        columns = list(found.values()) if isinstance(found, dict) else []
        if len(columns) > 1 and all(isinstance(each, list) for each in columns) and len({*map(len, columns)}) == 1:
            yield columns


def _change_row(columns: list[Any], random: Random) -> None:
    """Of all of them alike, so that they stay columns: a row doubled, taken away, moved; or one entry another's."""
    if not columns or not columns[0]:
        return
    at, other = (random.randrange(len(columns[0])) for _ in range(2))
    match random.randrange(4):
        case 0:
            for each in columns:
                each.insert(at, deepcopy(each[other]))
        case 1:
            for each in columns:
                del each[at]
        case 2:
            for each in columns:
                each[at], each[other] = each[other], each[at]
        case _:
            each = random.choice(columns)
            each[at] = each[other]


def _change(place: Place, others: list[Any], random: Random) -> None:
    where, key = place
    match random.randrange(8):
        case 0 | 1:
            where[key] = _word(random)
        case 2:
            where[key] = deepcopy(random.choice(others))
        case 3 if isinstance(where, dict):
            where[random.choice([*_TAGS, *where])] = where.pop(key)
        case 3 if len(where) > 1:
            del where[key]
        case 4 if isinstance(where, list):
            where.insert(key, deepcopy(where[key]))
        case 5:
            where[key] = {random.choice(_TAGS): where[key]}
        case 6:
            where[key] = {random.choice(_TAGS): _word(random)}
        case _:
            where[key] = _nudged(where[key], random)


def _word(random: Random) -> Any:
    return deepcopy(random.choice(_WORDS))


def _nudged(value: Any, random: Random) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return random.choice((value + 1, value - 1, value * 2, -value, value + 2**32, value * 2**40))
        case str() if value:
            at = random.randrange(len(value))
            return value[:at] + chr(random.choice((0, 47, 48, 65, 97, 102, 0x2028, 0x1F600))) + value[at + 1 :]
        case list() if len(value) > 1:
            return value[::-1]
    return _word(random)


def frame(raw: bytes, limit: int, random: Random, as_bytes: Bytes) -> bytes:
    """Prefix and header, the one telling the length of the other."""
    if random.random() < 0.2:
        return as_bytes(raw, limit)
    return b"".join(with_lengths([raw[:16], document(raw[16:], limit - 16, random, as_bytes)]))


def file(raw: bytes, limit: int, random: Random, as_bytes: Bytes) -> bytes:
    """One of an arena's files, behind the byte that tells which: JSON, perhaps behind a length."""
    kind, content = raw[:1] or b"\0", raw[1:]
    if random.random() < 0.1:
        return as_bytes(raw, limit)
    if kind[0] % 4 == 0:  # a schema inside of a text inside of JSON
        return kind + content[:8] + _header(content[8:], limit - 9, random, as_bytes)
    if kind[0] % 4 == 2:
        end = 16 + int.from_bytes(content[8:16], "little")
        head = document(content[16:end], limit - 64, random, as_bytes)
        return (kind + content[:8] + len(head).to_bytes(8, "little") + head + content[end:])[:limit]
    return kind + document(content, limit - 1, random, as_bytes)


def _header(content: bytes, limit: int, random: Random, as_bytes: Bytes) -> bytes:
    try:
        whole = json.loads(content)
        told = whole["__metadata__"]["checkpointheal"]
        whole["__metadata__"]["checkpointheal"] = document(told.encode(), limit, random, as_bytes).decode()
    except (ValueError, TypeError, KeyError, AttributeError):
        return as_bytes(content, limit)
    return json.dumps(whole).encode()[:limit]
