"""Out of a structural schema: a good value, and for each of its limits one beyond it and one just within it.

Nothing here knows our kinds: what the schema says is what is tried, so that no limit goes untried.
"""

import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple

Json = dict[str, Any]
Path = tuple[str | int, ...]
WRONG: Json = {"object": "x", "array": "x", "string": 7, "integer": "x", "number": "x", "boolean": "x"}
TIME, LATER = "2026-01-02T03:04:05.000000Z", "2026-01-02T03:04:06.000000Z"


class Trial(NamedTuple):
    """A value for the whole: the field that is different, and the limit that it tries."""

    place: str
    limit: str
    value: Any


def sample(schema: Json) -> Any:
    """A good value with every field."""
    match schema["type"]:
        case "object" if "properties" in schema:
            return {name: sample(each) for name, each in schema["properties"].items()}
        case "object":
            return {"a": sample(schema["additionalProperties"])}
        case "array":
            return [sample(schema["items"])]
        case "string":
            return _text(schema)
        case "boolean":
            return True
    return schema.get("minimum", 0) + 1


def other(schema: Json, value: Any) -> Any:
    """Another good value."""
    match schema["type"]:
        case "object":
            name = next(each for each in value if schema["properties"][each]["type"] == "string")
            return value | {name: other(schema["properties"][name], value[name])}
        case "string" if "enum" in schema:
            return next(each for each in schema["enum"] if each != value)
        case "string":
            return LATER if schema.get("format") == "date-time" else f"{value}0"
    return value + 1


def parts(schema: Json, value: Any, path: Path = ()) -> Iterator[tuple[Path, Json, Any]]:
    """The value and everything inside it, each with its schema."""
    yield path, schema, value
    for name, each in schema.get("properties", {}).items():
        yield from parts(each, value[name], (*path, name))
    if "additionalProperties" in schema:
        yield from parts(schema["additionalProperties"], value["a"], (*path, "a"))
    if "items" in schema:
        yield from parts(schema["items"], value[0], (*path, 0))


def beyond(schema: Json, whole: Any, root: str) -> Iterator[Trial]:
    """For every limit a value that must be refused, with the name of the field that must be named."""
    for path, part, value in parts(schema, whole):
        for limit, bad in _bad(part, value):
            yield Trial(named((root, *path)), limit, _with(whole, path, bad))
        for name in part.get("required", ()):
            yield Trial(named((root, *path, name)), "required", _with(whole, path, _without(value, name)))
        if "x-kubernetes-list-map-keys" in part:
            yield Trial(named((root, *path, 1)), "key", _with(whole, path, [value[0], value[0]]))


def at_the_edge(schema: Json, whole: Any, root: str) -> Iterator[Trial]:
    """For every limit of size a value that is still good."""
    for path, part, _value in parts(schema, whole):
        for limit in ("minimum", "maximum", "maxLength", "minLength", "maxItems", "minItems", "maxProperties"):
            if limit in part and not (limit == "maxLength" and "format" in part):
                yield Trial(named((root, *path)), limit, _with(whole, path, _sized(part, limit, part[limit])))


def named(path: Path) -> str:
    """As the API server names it: `spec.selector.matchExpressions[0].key`."""
    return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in path).removeprefix(".")


def changed(whole: Any, path: Path, value: Any) -> Any:
    """The whole with another part."""
    return _with(whole, path, value)


def _bad(schema: Json, value: Any) -> Iterator[tuple[str, Any]]:
    yield "type", WRONG[schema["type"]]
    if "enum" in schema:
        yield "enum", "Nonsense"
    if "pattern" in schema:
        yield "pattern", next(each for each in ("nonsense", "no name") if not re.search(schema["pattern"], each))
    if schema.get("format") == "date-time":
        yield "format", "yesterday"
    for limit, by in (("minimum", -1), ("maximum", 1), ("maxLength", 1), ("minLength", -1), ("minItems", -1)):
        if limit in schema:
            yield limit, _sized(schema, limit, schema[limit] + by)
    for limit in ("maxItems", "maxProperties"):
        if limit in schema:
            yield limit, _sized(schema, limit, schema[limit] + 1)


def _sized(schema: Json, limit: str, size: int) -> Any:
    if limit in ("minimum", "maximum"):
        return size
    if limit in ("minLength", "maxLength"):
        return _long(schema["pattern"], size) if "pattern" in schema else "x" * size
    if limit == "maxProperties":
        return {f"a{number}": sample(schema["additionalProperties"]) for number in range(size)}
    return [_numbered(schema, number) for number in range(size)]


def _long(pattern: str, size: int) -> str:
    """A place, a label's name or its value: the first that is good."""
    long = ("0/".ljust(size, "0"), f"{'0' * (size - 64)}/{'0' * 63}", "0" * size)
    return next((each for each in long if re.search(pattern, each)), long[0])


def _numbered(schema: Json, number: int) -> Any:
    item = sample(schema["items"])
    for key in schema.get("x-kubernetes-list-map-keys", ()):
        item[key] = f"0/{number}"
    return item


def _text(schema: Json) -> str:
    if "enum" in schema:
        return str(schema["enum"][0])
    if "pattern" in schema:
        return next(each for each in ("0/0", "a") if re.search(schema["pattern"], each))
    return TIME if schema.get("format") == "date-time" else "a"


def _without(value: Json, name: str) -> Json:
    return {key: each for key, each in value.items() if key != name}


def _with(whole: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    copy = deepcopy(whole)
    inside = copy
    for each in path[:-1]:
        inside = inside[each]
    inside[path[-1]] = value
    return copy
