"""What JSON schema cannot say and the API server can: rules over two fields or two writes, and lists that are maps.

Must not know which objects use them.
"""

from pydantic.types import JsonValue

JsonSchema = dict[str, JsonValue]


def rules(*each: tuple[str, str]) -> JsonSchema:
    """CEL expressions, each with the sentence that its refusal shows."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in each]}


def by_key(key: str) -> JsonSchema:
    """A list whose entries differ in `key`."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
