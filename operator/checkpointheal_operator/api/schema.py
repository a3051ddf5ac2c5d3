"""How does a pydantic model become a structural schema, which is all that the API server takes?

References are put in place, null is absence, numbers get a format. What has no structural form is refused here rather
than by a cluster. Must not know any of our objects.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, JsonValue

Schema = dict[str, Any]

KEPT = frozenset(
    {"type", "format", "description", "default", "enum", "pattern", "required"}
    | {"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties"}
)
EXTENSION = "x-kubernetes-"


class NotStructural(ValueError):
    """A model says something that a structural schema cannot."""


def structural(model: type[BaseModel]) -> Schema:
    """The schema of `model`, its fields by their aliases. Raises NotStructural with the place."""
    whole = model.model_json_schema(by_alias=True, mode="validation")
    return _Inlined(whole.get("$defs", {})).of(whole, model.__name__)


class _Inlined:
    """Schemas with the definitions that they refer to."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions

    def of(self, given: Schema, place: str) -> Schema:
        plain = self._plain(given, place)
        found = {key: value for key, value in plain.items() if key in KEPT or key.startswith(EXTENSION)}
        if "default" in found:
            found["default"] = _without_null(found["default"])
        if found.get("default", ...) is None:
            del found["default"]
        found |= self._children(plain, place)
        unknown = plain.keys() - found.keys() - {"title", "default", "additionalProperties", "$defs"}
        if unknown:
            raise NotStructural(f"{place}: {', '.join(sorted(unknown))} has no structural form")
        if "type" not in found:
            raise NotStructural(f"{place}: has no single type")
        if found["type"] in ("integer", "number"):
            found.setdefault("format", "int64" if found["type"] == "integer" else "double")
        return found

    def _plain(self, given: Schema, place: str) -> Schema:
        """Without reference and without null; what stands beside a reference wins over what it refers to."""
        beside = {key: value for key, value in given.items() if key not in ("$ref", "anyOf", "const")}
        if "const" in given:
            return {"type": "string", **beside, "enum": [given["const"]]}
        if "anyOf" in given:
            some = [each for each in given["anyOf"] if each.get("type") != "null"]
            if len(some) != 1:
                raise NotStructural(f"{place}: may be of {len(some)} types")
            return self._over(self._plain(some[0], place), beside)
        if "$ref" in given:
            return self._over(self._plain(self._definitions[given["$ref"].rpartition("/")[2]], place), beside)
        return given

    @staticmethod
    def _over(below: Schema, beside: Schema) -> Schema:
        """Rules of both hold."""
        key = f"{EXTENSION}validations"
        both = [*below.get(key, ()), *beside.get(key, ())]
        return below | beside | ({key: both} if both else {})

    def _children(self, plain: Schema, place: str) -> Schema:
        found: Schema = {}
        if "properties" in plain:
            found["properties"] = {
                name: self._field(each, f"{place}.{name}") for name, each in plain["properties"].items()
            }
        elif isinstance(plain.get("additionalProperties"), dict):
            found["additionalProperties"] = self.of(plain["additionalProperties"], f"{place}.*")
        if "items" in plain:
            found["items"] = self.of(plain["items"], f"{place}[]")
        return found

    def _field(self, given: Schema, place: str) -> Schema:
        found = self.of(given, place)
        if not found.get("description"):
            raise NotStructural(f"{place}: has no description")
        return found


def _without_null(default: JsonValue) -> JsonValue:
    """The API server takes null in the default of a new definition, and refuses the same in one that is changed."""
    if isinstance(default, dict):
        return {key: _without_null(value) for key, value in default.items() if value is not None}
    return default
