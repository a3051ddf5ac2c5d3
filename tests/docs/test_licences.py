"""The page of licences tells of what ships, in the versions that are pinned."""

import re
from pathlib import Path
from typing import cast

from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| ([\w.-]+) \| (\d\S*) \| (.+) \| (.+) \|$", (ROOT / "docs/licences.md").read_text(), re.MULTILINE
)
PINNED = {
    canonicalize_name(name): version
    for name, version in (
        cast("tuple[str, str]", line.split("=="))
        for line in (ROOT / "constraints.txt").read_text().split()
        if "==" in line
    )
}


def test_every_package_on_the_page_has_the_pinned_version() -> None:
    assert ROWS
    told = {canonicalize_name(name): version for name, version, _, _ in ROWS}
    assert told == {name: PINNED.get(name) for name in told}


def test_what_pyproject_asks_for_is_on_the_page_and_what_only_tests_need_is_not() -> None:
    names = {canonicalize_name(name) for name, _, _, _ in ROWS}
    assert names >= {
        "torch",
        "kopf",
        "kubernetes",
        "pydantic",
        "aiohttp",
        "cryptography",
        "prometheus-client",
        "xxhash",
    }
    assert not names & {"pytest", "hypothesis", "mypy", "ruff", "import-linter", "safetensors"}


def test_the_operators_wing_has_neither_torch_nor_what_torch_brings() -> None:
    wings = {canonicalize_name(name): wings for name, _, _, wings in ROWS}
    assert wings["torch"] == wings["numpy"] == "transport"
    assert wings["kopf"] == "operator"
