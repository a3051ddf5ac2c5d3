"""Which commands can be forked from a warm process, over the interpreter's whole command line."""

import itertools
import os
import sys
from pathlib import Path

import pytest

from checkpointheal.run.warmable import cold_because, missing_script

PYTHON = sys.executable
HARMLESS = [[], ["-u"], ["-bBOOdqsvxP"], ["-W", "error"], ["-Werror"], ["-X", "dev"], ["-uXdev"], ["-uX", "-E"]]
AGAINST = {"-E": "-E", "-I": "-I", "-S": "-S", "-uS": "-S", "-OEB": "-E", "-V": "-V", "-h": "-h", "--help": "--help"}
PROGRAMS = [["train.py"], ["-m", "train"], ["-mtrain"], ["-c", "pass"], ["-um", "train", "-E"], ["train.py", "-IS"]]
NO_PROGRAMS = [[], ["-"]]


@pytest.mark.parametrize("program", PROGRAMS)
def test_options_that_hold_for_a_warm_process_too_are_no_reason(program):
    for first, second in itertools.product(HARMLESS, HARMLESS):
        assert cold_because([PYTHON, *first, *second, *program], PYTHON) is None


@pytest.mark.parametrize("against", AGAINST)
def test_an_option_that_keeps_our_hook_out_is_a_reason(against):
    for before, program in itertools.product(HARMLESS, PROGRAMS):
        reason = cold_because([PYTHON, *before, against, *program], PYTHON)
        assert reason == f"the interpreter is told {AGAINST[against]}"


@pytest.mark.parametrize("options", HARMLESS)
def test_an_interpreter_without_a_program_is_a_reason(options):
    for program in NO_PROGRAMS:
        assert cold_because([PYTHON, *options, *program], PYTHON) == "the interpreter is given no program"


@pytest.fixture
def elsewhere(tmp_path):
    """A link to this interpreter, as another virtual environment has."""
    link = tmp_path / "python"
    link.symlink_to(PYTHON)
    return link


@pytest.mark.parametrize("command", ["sh", "no-such-command", "elsewhere"])
def test_another_program_or_interpreter_is_a_reason(command, elsewhere):
    command = str(elsewhere) if command == "elsewhere" else command
    assert cold_because([command, "train.py"], PYTHON) == f"{command} is not {PYTHON}"


def test_a_name_on_the_path_is_followed(monkeypatch, elsewhere):
    monkeypatch.setenv("PATH", os.pathsep.join((str(Path(PYTHON).parent), str(elsewhere.parent))))
    assert cold_because(["python", "train.py"], PYTHON) is None
    monkeypatch.setenv("PATH", os.pathsep.join((str(elsewhere.parent), str(Path(PYTHON).parent))))
    assert cold_because(["python", "train.py"], PYTHON) is not None


@pytest.mark.parametrize("options", HARMLESS)
def test_a_script_that_is_not_there_is_known_before_it_is_started(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").touch()
    assert missing_script(["python", *options, "trian.py", "train.py"]) == "trian.py"
    for program in (["train.py", "trian.py"], ["-m", "trian"], ["-c", "pass"], ["-"], []):
        assert missing_script(["python3.11", *options, *program]) is None
    assert missing_script(["torchrun", "trian.py"]) is None
