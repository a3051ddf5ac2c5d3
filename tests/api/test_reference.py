"""The reference says what the API server takes, field by field."""

import re
from pathlib import Path
from typing import Any

import pytest

from checkpointheal_operator.api.definitions import definitions
from checkpointheal_operator.api.reference import FILE, main, page

ROOT = Path(__file__).parents[2]
OBJECTS = {each["spec"]["names"]["kind"]: each["spec"]["versions"][0] for each in definitions()}
BOTH = pytest.mark.parametrize("kind", OBJECTS)


def section(kind: str, part: str) -> list[list[str]]:
    """The rows of one table."""
    text = page().split(f"### {kind}.{part}\n")[1].split("\n#")[0]
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]


def fields(schema: dict[str, Any]) -> int:
    """How many are named, at any depth."""
    below = schema.get("items", schema).get("properties", {}).values()
    return sum(1 + fields(each) for each in below)


def row(kind: str, part: str, field: str) -> str:
    return next(" | ".join(each) for each in section(kind, part) if each[0] == f"`{field}`")


def test_what_is_committed_is_what_the_models_say(tmp_path: Path):
    main(tmp_path / "reference.md")
    assert (ROOT / FILE).read_text() == (tmp_path / "reference.md").read_text()


@BOTH
@pytest.mark.parametrize("part", ["spec", "status"])
def test_every_field_has_a_row(kind, part):
    found = OBJECTS[kind]["schema"]["openAPIV3Schema"]["properties"][part]
    assert len(section(kind, part)) == fields(found) > 0


@BOTH
def test_every_rule_and_every_column_is_told(kind):
    text = page().split(f"\n## {kind}\n")[1].split("\n## ")[0]
    rules = re.findall(r"'rule': .*?'message': '([^']*)'", str(OBJECTS[kind]["schema"]))
    assert rules
    for message in rules:
        assert f": {message}.\n" in text
    for column in OBJECTS[kind]["additionalPrinterColumns"]:
        assert f"| {column['name']} | `{column['jsonPath']}` |" in text


def test_limits_defaults_and_what_must_be_there_are_told():
    assert "required" in row("CheckpointHeal", "spec", "selector")
    assert "integer, 0 to 1,000 | `50`" in row("CheckpointHeal", "spec", "historyLimit")
    assert "`TLS` or `Gloo` | `TLS`" in row("CheckpointHeal", "spec", "channel")
    assert "integer, 1 to 9,007,199,254,740,992 |" in row("CheckpointHeal", "spec", "donors.bytesPerSecond")
    assert "integer, 0 or more |" in row("CheckpointHeal", "status", "observedGeneration")
    assert "list of `In`" not in row("CheckpointHeal", "spec", "selector.matchExpressions[].values")
    assert "time | required" in row("Heal", "spec", "noticedAt")
