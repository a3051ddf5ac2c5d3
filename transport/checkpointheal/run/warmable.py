"""Can this command be forked from a warm process, or has every start of it to be cold? Is its script there at all?

Pure but for the look at what a name on PATH, or a script, is. A warm process is started with the very words of the
command, so that the interpreter's options hold for it too; only those that keep it from importing our hook speak
against it.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from checkpointheal.warm import HOOK

_WITH_VALUE = frozenset("WX")
_PROGRAM = frozenset("cm")
_WITHOUT_HOOK = frozenset("EIS")
_ENDS_AT_ONCE = frozenset("hV?")


def cold_because(command: Sequence[str], python: str) -> str | None:
    """The reason against it, None where there is none. `python`: the interpreter that our modules are installed for."""
    found = shutil.which(command[0])
    if found is None or not _is_same(found, python):
        return f"{command[0]} is not {python}"
    if os.pathsep in str(HOOK):
        return f"PYTHONPATH cannot name {HOOK}"
    return _option_against(command[1:])


def _is_same(found: str, python: str) -> bool:
    """The same file in the same folder: a link to it from another folder may be another virtual environment."""
    return os.path.realpath(found) == os.path.realpath(python) and Path(found).parent.resolve() == _folder(python)


def _folder(python: str) -> Path:
    return Path(python).parent.resolve()


def missing_script(command: Sequence[str]) -> str | None:
    """The file that a Python is to run and that is not there; None where it is, or where none is named."""
    if not Path(command[0]).name.startswith("python"):
        return None
    _, program = _read(command[1:])
    return program if program and not os.path.exists(program) else None


def _option_against(words: Sequence[str]) -> str | None:
    told, program = _read(words)
    for each in told:
        if each.startswith("--") or each[1:] in _WITHOUT_HOOK | _ENDS_AT_ONCE:
            return f"the interpreter is told {each}"
    return None if program is not None else "the interpreter is given no program"


def _read(words: Sequence[str]) -> tuple[list[str], str | None]:
    """The options, and the program's file, as the interpreter reads them. Empty: a program that is no file."""
    told, left = list[str](), list(words)
    while left and left[0].startswith("-") and left[0] != "-":
        word = left.pop(0)
        if word.startswith("--"):
            return [*told, word], None
        for at, letter in enumerate(word[1:], start=2):
            if letter in _PROGRAM:
                return told, ""
            told.append(f"-{letter}")
            if letter in _WITH_VALUE:
                del left[: not word[at:]]
                break
    return told, left[0] if left and left[0] != "-" else None
