"""`operator/` and `transport/` are source roots: a package named like them would replace the standard library's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROBE = """
import collections, operator, os, sys
stdlib = os.path.dirname(os.__file__)
sys.exit(operator.__file__ is not None and not operator.__file__.startswith(stdlib))
"""


def bare_interpreter_at(root: Path) -> subprocess.CompletedProcess[str]:
    """`-S`: a start-up hook of some installed package would import the right `operator` first and hide the fault."""
    return subprocess.run(
        [sys.executable, "-S", "-c", PROBE],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("source_root", ["operator", "transport"])
def test_a_source_root_is_no_package(source_root: str) -> None:
    assert (ROOT / source_root).is_dir()
    assert not (ROOT / source_root / "__init__.py").exists()


def test_a_bare_interpreter_at_the_root_finds_the_standard_operator() -> None:
    started = bare_interpreter_at(ROOT)
    assert started.returncode == 0, started.stderr


def test_the_guard_sees_an_operator_that_is_a_package(tmp_path: Path) -> None:
    (tmp_path / "operator").mkdir()
    (tmp_path / "operator" / "__init__.py").touch()
    assert bare_interpreter_at(tmp_path).returncode != 0
