"""What is written is to everybody what it was, and what is read is what kubectl reads."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from builders_injection import ROOT
from checkpointheal_operator.webhook import inject_command
from checkpointheal_operator.webhook.manifest_files import read, write

NUMBERS = st.text(alphabet="0123456789abefoxBOXEINn_+-.:TtZ <=~", max_size=12)
WORDS = ("y", "N", "yes", "No", "ON", "off", "TRUE", "Null", "~", "", "=", "<<", ".inf", "-.INF", ".NaN", "+.Inf")
STRINGS = st.one_of(NUMBERS, st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.sampled_from(WORDS))
LEAVES = st.one_of(STRINGS, st.integers(), st.floats(allow_nan=False), st.booleans(), st.none())


class Core(yaml.SafeLoader):
    """YAML 1.2 by its core schema alone."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, Any]]] = {}  # noqa: RUF012 as PyYAML has it


def _core(tag: str, pattern: str) -> None:
    Core.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"(?:{pattern})$"), None)


_core("null", r"null|Null|NULL|~|")
_core("bool", r"true|True|TRUE|false|False|FALSE")
_core("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_core("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@given(st.dictionaries(STRINGS, st.one_of(LEAVES, st.lists(LEAVES, max_size=3)), max_size=4))
@example({"args": ["1e-4", "3e4", "0o17", "0O17", "1_0", "+_1", "12:30:00", "2026-12-01", "190:20:30.15"]})
@example({str(word): word for word in WORDS})
def test_what_is_written_comes_back_equal_by_whichever_yaml(document: dict[str, Any]) -> None:
    written = write((document,))
    assert yaml.safe_load(written) == document
    assert yaml.load(written, Loader=Core) == document
    assert read(written) == [document]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        *[("12:30:00", "12:30:00"), ("190:20:30.15", "190:20:30.15"), ("2026-12-01", "2026-12-01")],
        *[("2026-1-2 3:4:5", "2026-1-2 3:4:5"), ("=", "="), ("0x", "0x"), ("1e", "1e"), ("-.", "-."), ("tRUE", "tRUE")],
        *[("0x1p-2", "0x1p-2"), ("._5", "._5"), ("1e999", "1e999")],
        *[("0o17", 15), ("0O17", 15), ("017", 15), ("0_o17", 15), ("-017", -15), ("0b11", 3), ("-0B11", -3)],
        *[("0x1F", 31), ("1_0", 10), ("1_", 1), ("-_1", -1), ("+1", 1), ("0", 0), ("08", 8.0)],
        *[("1e3", 1000.0), ("1e-4", 0.0001), (".5", 0.5), ("1.", 1.0), ("-.5e3", -500.0), ("1__0.5", 10.5)],
        *[(".inf", float("inf")), ("-.INF", float("-inf"))],
        *[("y", True), ("No", False), ("on", True), ("OFF", False), ("TRUE", True), ("~", None), ("Null", None)],
        *[("!!timestamp 2026-12-01", "2026-12-01"), ("!!float 1", 1.0), ('"1e3"', "1e3")],
    ],
)
def test_what_stands_unquoted_is_read_as_kubectl_reads_it(text: str, found: object) -> None:
    assert read(f"a: {text}") == [{"a": found}]
    assert type(read(f"a: {text}")[0]["a"]) is type(found)


@pytest.mark.parametrize("text", ["!!int x", "!!float x", "!!int 1.5"])
def test_what_is_called_a_number_and_is_none_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="not a number"):
        read(f"a: {text}")


def test_what_is_merged_stands_in_its_place() -> None:
    assert read("a: &a {b: 1}\nc: {<<: *a, d: 2}")[0]["c"] == {"b": 1, "d": 2}


def test_a_trainers_arguments_go_through_the_command_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, root = tmp_path / "pod.yaml", tmp_path / "root.pem"
    root.write_text(ROOT)
    file.write_text(
        """
apiVersion: v1
kind: Pod
metadata:
  name: gpt-0
  labels: {checkpointheal.dev/inject: "true"}
  annotations: {checkpointheal.dev/replica: "0", checkpointheal.dev/job: gpt}
spec: {containers: [{name: trainer, image: gpt, args: ["1e-4", 12:30:00, 2026-12-01, "0o17"]}]}
"""
    )
    assert inject_command.main(["-f", str(file), "--gateway-root", str(root)]) == 0
    (pod,) = read(capsys.readouterr().out)
    assert pod["spec"]["containers"][0]["args"] == ["1e-4", "12:30:00", "2026-12-01", "0o17"]
