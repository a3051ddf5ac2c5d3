"""No module of ours is named like one of the standard library's, at any depth: a folder may land on the import path."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for root in ("operator", "transport") for path in (ROOT / root).rglob("*.py"))
MODULES = [path for path in SOURCES if not path.stem.startswith("__")]
FOLDERS = sorted({path.parent for path in SOURCES})


@pytest.mark.parametrize("path", [*MODULES, *FOLDERS], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_name_of_ours_is_not_the_standard_librarys(path: Path) -> None:
    assert path.stem not in sys.stdlib_module_names


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_folder_with_modules_is_a_package(folder: Path) -> None:
    assert (folder / "__init__.py").is_file()
