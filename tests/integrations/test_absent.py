"""A library that an adapter is for is nobody's dependency: without it, only its adapter cannot be imported."""

import subprocess
import sys

import pytest

WITHOUT = "import sys; sys.modules[{library!r}] = None; import {module}"


def imported(module: str, library: str) -> "subprocess.CompletedProcess[str]":
    program = WITHOUT.format(library=library, module=module)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd="/")


LIBRARIES = {
    "torchft": "torchft",
    "transformers": "'transformers[torch]'",
    "lightning": "lightning",
    "torchdata": "torchdata",
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_adapter_without_its_library_names_what_mends_it(library: str) -> None:
    ended = imported(f"checkpointheal.integrations.{library}", library)
    assert ended.returncode == 1
    assert f"pip install {LIBRARIES[library]}" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    "module", ["checkpointheal.integrations", "checkpointheal.pg_transport", "checkpointheal.trainer.later"]
)
def test_nothing_else_needs_it(module: str, library: str) -> None:
    assert imported(module, library).returncode == 0
