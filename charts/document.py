"""Write the table of values into the chart's README: `python charts/document.py`.

Names and meanings come from values.schema.json, defaults from values.yaml; so neither is written twice.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CHART = Path(__file__).parent / "checkpointheal"
BEGIN, END = "<!-- values -->\n", "<!-- /values -->\n"
HEAD = "| value | means | default |\n| --- | --- | --- |\n"
LONGEST = 60
"""Characters of a default; a longer one is looked up in values.yaml."""


class Value(NamedTuple):
    """A leaf of the schema, by its dotted name."""

    name: str
    means: str
    default: Any


def values(chart: Path = CHART) -> Iterator[Value]:
    """All that may be set."""
    schema = json.loads((chart / "values.schema.json").read_text())
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    yield from _below(schema, schema["definitions"], defaults, "")


def readme(text: str) -> str:
    """It, with the table as it should be."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    table = "".join(f"| `{each.name}` | {_cell(each.means)} | {_default(each.default)} |\n" for each in values())
    return head + BEGIN + HEAD + table + END + tail


def main() -> None:
    """Write it."""
    path = CHART / "README.md"
    path.write_text(readme(path.read_text()))


def _below(schema: Mapping[str, Any], shared: Mapping[str, Any], default: Any, place: str) -> Iterator[Value]:
    for key, found in schema["properties"].items():
        field = shared[found["$ref"].rpartition("/")[2]] if "$ref" in found else found
        name, here = f"{place}{key}", (default or {}).get(key)
        if "properties" in field and here:
            yield from _below(field, shared, here, name + ".")
        elif key in (default or {}):
            yield Value(name, field["description"], here)


def _default(value: Any) -> str:
    text = json.dumps(value)
    return f"`{text}`" if len(text) <= LONGEST else "see values.yaml"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
