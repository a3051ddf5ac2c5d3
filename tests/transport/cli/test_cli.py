"""The dispatcher: every command is found, and every "no" is one readable line."""

import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from types import SimpleNamespace

import pytest

from checkpointheal import cli


def use(monkeypatch: pytest.MonkeyPatch, outcome: Exception | int) -> list[tuple[str, Sequence[str]]]:
    """Put `outcome` in the place of every command; returns the list that the calls are written to."""
    calls: list[tuple[str, Sequence[str]]] = []

    def load(module: str) -> SimpleNamespace:
        if isinstance(outcome, Exception):
            raise outcome
        return SimpleNamespace(main=lambda argv: calls.append((module, argv)) or outcome)

    monkeypatch.setattr(cli, "import_module", load)
    return calls


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_gets_its_arguments_and_gives_its_exit_status(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = use(monkeypatch, 7)
    assert cli.main([name, "--", "python", "train.py"]) == 7
    assert calls == [(cli.COMMANDS[name].module, ["--", "python", "train.py"])]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_missing_extra_is_one_line_with_the_remedy(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert cli.main([name]) == cli.USAGE_ERROR
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "torch" in said
    assert f"pip install 'checkpointheal{'[' if cli.COMMANDS[name].extras else ''}" in said


def test_a_module_of_ours_that_is_missing_is_a_fault_with_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, ModuleNotFoundError("No module named 'checkpointheal.wire'", name="checkpointheal.wire"))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["run"])


@pytest.mark.parametrize(
    ("typed", "meant"), [("rnu", "run"), ("agnet", "agent"), ("demoo", "demo"), ("locale", "local")]
)
def test_an_unknown_command_names_the_nearest(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([typed]) == cli.USAGE_ERROR
    assert f"did you mean {meant!r}?" in capsys.readouterr().err


def test_a_command_like_none_of_ours_gets_the_list() -> None:
    assert all(name in cli.unknown("zzzzzz") for name in cli.COMMANDS)


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_tells_every_command_in_a_sentence(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    said = capsys.readouterr().out
    assert all(name in said and command.does in said for name, command in cli.COMMANDS.items())


def test_the_version_is_the_distributions() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "checkpointheal.cli", "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert printed == f"checkpointheal {version('checkpointheal')}\n"


def test_the_run_command_is_where_the_table_says() -> None:
    assert callable(import_module(cli.COMMANDS["run"].module).main)
