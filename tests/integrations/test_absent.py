"""A library that an adapter is for is nobody's dependency: without it, only its adapter cannot be imported."""

import json
import subprocess
import sys

LIBRARIES = {
    "torchft": "torchft",
    "transformers": "'transformers[torch]'",
    "lightning": "lightning",
    "torchdata": "torchdata",
}
NEEDS_NONE = ["checkpointheal.integrations", "checkpointheal.pg_transport", "checkpointheal.trainer.later"]
WITHOUT = """
import importlib, json, sys

said = {}
sys.modules.update(dict.fromkeys(sys.argv[1].split()))
for module in sys.argv[2:]:
    try:
        importlib.import_module(module)
    except ImportError as error:
        said[module] = str(error)
print(json.dumps(said))
"""


def refused(*modules: str) -> dict[str, str]:
    """What those say that cannot be imported in a process that has none of the libraries."""
    command = [sys.executable, "-c", WITHOUT, " ".join(LIBRARIES), *modules]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    said: dict[str, str] = json.loads(ended.stdout)
    return said


def test_an_adapter_without_its_library_names_what_mends_it() -> None:
    said = refused(*(f"checkpointheal.integrations.{library}" for library in LIBRARIES))
    assert len(said) == len(LIBRARIES)
    for library, package in LIBRARIES.items():
        assert f"pip install {package}" in said[f"checkpointheal.integrations.{library}"]


def test_nothing_else_needs_them() -> None:
    assert refused(*NEEDS_NONE) == {}
