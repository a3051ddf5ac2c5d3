"""Write the reference of our objects: `python -m checkpointheal_operator.api.reference [FILE]`.

Every field, its type and limits, its default and its meaning, as the definitions say them: so nothing is written twice,
and what a reader finds is what the API server takes. Must not know what the fields are for.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from checkpointheal_operator.api.base import GROUP, VERSION, Json
from checkpointheal_operator.api.definitions import CHECKPOINTHEAL, HEAL, Naming, definitions

FILE = Path("docs/reference.md")
HEAD = f"""\
# Reference

Every field of the two objects of `{GROUP}/{VERSION}`. Written from their definitions by
`python -m checkpointheal_operator.api.reference`; a test compares. A field that nobody knows is refused by
`kubectl apply`, a bad value by the API server, both by their names. `kubectl explain checkpointheal.spec` tells
the same in a cluster.
"""
INTENTS = {
    CHECKPOINTHEAL.kind: """\
The policy under which the pods of one training job heal each other. You write `spec`, of which only a selector is
needed; the operator writes `status`.
""",
    HEAL.kind: """\
One recovery of one member. The operator alone writes it: a record to be read, and what agents are ordered by. It is
deleted with its CheckpointHeal.
""",
}
TABLE = "| field | type | default | meaning |\n| --- | --- | --- | --- |"
COLUMNS = "| column | from | with |\n| --- | --- | --- |"
RULES = "x-kubernetes-validations"


def page() -> str:
    """The whole of it."""
    parts = [HEAD]
    for naming, definition in zip((CHECKPOINTHEAL, HEAL), definitions(), strict=True):
        parts += _object(naming, definition)
    return "\n".join(parts)


def _object(naming: Naming, definition: Json) -> Iterator[str]:
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    yield f"## {naming.kind}\n"
    yield f"{INTENTS[naming.kind]}\n`kubectl get {naming.plural}`, or `{naming.short}`; namespaced.\n"
    for part in ("spec", "status"):
        field = schema["properties"][part]
        rows = [_row(*each) for each in _fields(field, "")]
        yield "\n".join([f"### {naming.kind}.{part}\n", f"{field['description']}\n", TABLE, *rows, ""])
    rules = [f"- `{place}`: {message}." for place, message in _rules(schema["properties"]["spec"], "spec")]
    rules += [f"- `{place}`: {message}." for place, message in _rules(schema["properties"]["status"], "status")]
    yield "\n".join(["The API server refuses what breaks one of these:\n", *rules, ""])
    printed = [f"| {each.name} | `{each.path}` |{' `-o wide`' if each.priority else ''} |" for each in naming.columns]
    yield "\n".join([f"### What `kubectl get {naming.plural}` prints\n", COLUMNS, *printed, ""])


def _fields(schema: Json, place: str) -> Iterator[tuple[str, Json, bool]]:
    """Each field below, depth first: its place, what it is, and whether it must be there."""
    for name, field in schema.get("properties", {}).items():
        here = f"{place}{name}"
        yield here, field, name in schema.get("required", ())
        if field["type"] == "array":
            yield from _fields(field["items"], f"{here}[].")
        else:
            yield from _fields(field, f"{here}.")


def _row(place: str, field: Json, required: bool) -> str:
    default = "required" if required else _default(field)
    return f"| `{place}` | {_type(field)} | {default}{' ' if default else ''}| {_cell(field['description'])} |"


def _default(field: Json) -> str:
    """Of an object that is left out, the defaults of its fields are what counts."""
    if "default" not in field or field["type"] == "object" or field["default"] in ("", []):
        return ""
    return f"`{json.dumps(field['default']).strip(chr(34))}`"


def _type(field: Json) -> str:
    if "enum" in field:
        return _cell(" or ".join(f"`{each}`" for each in field["enum"]))
    match field["type"]:
        case "array":
            return f"list of {_type(field['items'])}"
        case "object" if "additionalProperties" in field:
            return f"map to {_type(field['additionalProperties'])}"
        case "string" if field.get("format") == "date-time":
            return "time"
        case "string" if "pattern" in field:
            return f"string like `{field['pattern']}`"
    return f"{field['type']}{_limits(field)}"


def _limits(field: Json) -> str:
    least, most = (None if (found := field.get(key)) is None else f"{found:,}" for key in ("minimum", "maximum"))
    if least is not None and most is not None:
        return f", {least} to {most}"
    return f", {least} or more" if least is not None else ""


def _rules(schema: Json, place: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get(RULES, ()):
        yield place, rule["message"]
    for name, field in schema.get("properties", {}).items():
        yield from _rules(field, f"{place}.{name}")
    if "items" in schema:
        yield from _rules(schema["items"], f"{place}[]")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(file: Path) -> None:
    """Write it."""
    file.write_text(page())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
