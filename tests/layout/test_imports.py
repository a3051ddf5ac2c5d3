"""The import contracts of `pyproject.toml`, one test each."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

PROGRAM = """
import sys
from importlinter.cli import lint_imports
sys.exit(lint_imports(limit_to_contracts=(sys.argv[1],), no_cache=True, no_logo=True))
"""


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract["id"])
def test_an_import_contract_is_kept(contract: dict[str, str]) -> None:
    linted = subprocess.run(
        [sys.executable, "-c", PROGRAM, contract["id"]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr
