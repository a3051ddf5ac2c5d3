"""What an API server does with a structural schema: default, prune, refuse by the field's name.

The rules that it evaluates in CEL are evaluated here by the function that stands for their text; a rule without one is
an error, so that no rule goes untested.
"""

import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
MANY = 1 << 62
MOST = "(has(self.replicas) ? self.replicas : 1) * (has(self.ranks) ? self.ranks : 1) <= 2048"
MIN_AND_ALL = "!has(self.minReplicas) || !has(self.replicas) || self.minReplicas <= self.replicas"
CAP_AND_FLOOR = (
    "!has(self.bytesPerSecond) || !has(self.floorBytesPerSecond) || self.bytesPerSecond >= self.floorBytesPerSecond"
)
NAME = (
    "((([a-z0-9][-a-z0-9]*)?[a-z0-9][.])*([a-z0-9][-a-z0-9]*)?[a-z0-9]/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]"
)
NAMED = f"self.matchLabels.all(name, name.matches('^{NAME}$'))"
COMPARED = "(self.operator in ['In', 'NotIn']) == (size(self.values) > 0)"


def deadline_rules() -> Iterator[tuple[str, Callable[[Any, Any], bool]]]:
    """For each two deadlines that have an order: which is said counts, else so many fifths of the patience."""
    fifths = {"report": 10, "agentSilence": 6, "transfer": 30, "restoreBudget": 180, "stoppedTrainer": 5}
    pairs = (("report", "agentSilence"), ("transfer", "agentSilence"), ("restoreBudget", "stoppedTrainer"))

    def effective(name: str) -> str:
        return f"(has(self.{name}Seconds) ? self.{name}Seconds * 5 : self.patienceSeconds * {fifths[name]})"

    def of(new: Any, name: str) -> int:
        said = new.get(f"{name}Seconds")
        return int(new["patienceSeconds"] * fifths[name] if said is None else said * 5)

    for longer, shorter in pairs:
        rule = f"{effective(longer)} >= {effective(shorter)}"
        yield rule, lambda new, _, longer=longer, shorter=shorter: of(new, longer) >= of(new, shorter)


CEL: dict[str, Callable[[Any, Any], bool]] = {
    "self == oldSelf": lambda new, old: new == old,
    "self == oldSelf || self.attempt > oldSelf.attempt": lambda new, old: new == old or new["attempt"] > old["attempt"],
    "has(self.crashStep) == has(oldSelf.crashStep)": lambda new, old: ("crashStep" in new) == ("crashStep" in old),
    "!has(oldSelf.assignment) || has(self.assignment)": lambda new, old: "assignment" not in old or "assignment" in new,
    "self.number >= oldSelf.number": lambda new, old: new["number"] >= old["number"],
    MOST: lambda new, _: new.get("replicas", 1) * new.get("ranks", 1) <= 2048,
    MIN_AND_ALL: lambda new, _: new.get("minReplicas", 0) <= new.get("replicas", MANY),
    CAP_AND_FLOOR: lambda new, _: new.get("bytesPerSecond", MANY) >= new.get("floorBytesPerSecond", 0),
    **dict(deadline_rules()),
    COMPARED: lambda new, _: (new["operator"] in ("In", "NotIn")) == bool(new["values"]),
    "size(self.matchLabels) + size(self.matchExpressions) > 0": lambda new, _: bool(
        new["matchLabels"] or new["matchExpressions"]
    ),
    NAMED: lambda new, _: all(re.fullmatch(NAME, each) for each in new["matchLabels"]),
}
ABSENT = object()


class Invalid(Exception):
    """What the API server answers 422 with."""


def admit(schema: dict[str, Any], value: Any, old: Any = ABSENT, place: str = "") -> Any:
    """The value as it would be stored."""
    if value is None or not isinstance(value, TYPES[schema["type"]]) or _is_misused_bool(schema, value):
        raise Invalid(f"{place}: {value!r} is no {schema['type']}")
    match schema["type"]:
        case "object":
            value = _object(schema, value, old, place)
        case "array":
            value = _array(schema, value, place)
        case _:
            _scalar(schema, value, place)
    _rules(schema, value, old, place)
    return value


def _is_misused_bool(schema: dict[str, Any], value: Any) -> bool:
    return isinstance(value, bool) and schema["type"] != "boolean"


def _object(schema: dict[str, Any], value: dict[str, Any], old: Any, place: str) -> dict[str, Any]:
    if "properties" not in schema:
        each = schema.get("additionalProperties")
        return value if each is None else {k: admit(each, v, place=f"{place}.{k}") for k, v in value.items()}
    found = {key: each for key, each in value.items() if key in schema["properties"] and each is not None}
    for key, field in schema["properties"].items():
        if key not in found and "default" in field:
            found[key] = deepcopy(field["default"])
    for key in schema.get("required", ()):
        if key not in found:
            raise Invalid(f"{place}.{key}: is required")
    before = old if isinstance(old, dict) else {}
    return {k: admit(schema["properties"][k], v, before.get(k, ABSENT), f"{place}.{k}") for k, v in found.items()}


def _array(schema: dict[str, Any], value: list[Any], place: str) -> list[Any]:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        raise Invalid(f"{place}: has {len(value)} items")
    found = [admit(schema["items"], each, place=f"{place}[{n}]") for n, each in enumerate(value)]
    keys = schema.get("x-kubernetes-list-map-keys")
    if keys and len({tuple(each[key] for key in keys) for each in found}) != len(found):
        raise Invalid(f"{place}: has two items of one {keys}")
    return found


def _scalar(schema: dict[str, Any], value: Any, place: str) -> None:
    if "enum" in schema and value not in schema["enum"]:
        raise Invalid(f"{place}: {value!r} is none of {schema['enum']}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        raise Invalid(f"{place}: {value!r} does not match {schema['pattern']}")
    size = len(value) if isinstance(value, str) else value
    low, high = ("minLength", "maxLength") if isinstance(value, str) else ("minimum", "maximum")
    if not schema.get(low, size) <= size <= schema.get(high, size):
        raise Invalid(f"{place}: {value!r} is out of bounds")


def _rules(schema: dict[str, Any], value: Any, old: Any, place: str) -> None:
    for each in schema.get("x-kubernetes-validations", ()):
        if old is ABSENT and "oldSelf" in each["rule"]:
            continue
        if not CEL[each["rule"]](value, old):
            raise Invalid(f"{place}: {each['message']}")
