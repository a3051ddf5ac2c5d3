"""A line says what it is about by the same names everywhere, to people and to machines."""

import contextvars
import io
import json
import logging

import pytest

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.log_lines import JsonLines, TextLines, about, begin, speaking

MEMBER = MemberId(replica=1, rank=0)


@pytest.fixture(autouse=True)
def _the_root_as_it_was():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def written(formatter: logging.Formatter, **said) -> str:
    log, stream = logging.Logger("checkpointheal.test"), io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    log.addHandler(handler)
    log.warning("attempt %d failed", 2, **said)
    return stream.getvalue()


def test_a_machine_reads_one_object_with_all_that_a_line_is_about():
    line = written(JsonLines({"job": "demo", "pod": "p"}), extra=about(heal="h", attempt=2, member=MEMBER, reason=""))
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "warning",
        "logger": "checkpointheal.test",
        "message": "attempt 2 failed",
        "job": "demo",
        "pod": "p",
        "heal": "h",
        "attempt": 2,
        "member": "1/0",
    }


def test_one_of_several_speakers_in_a_process_is_told_in_its_own_lines_and_in_no_others():
    def first() -> str:
        speaking(member=MEMBER, pod="p/1")
        return written(TextLines(), extra=about(heal="h"))

    assert contextvars.copy_context().run(first).endswith("failed [member=1/0 pod=p/1 heal=h]\n")
    assert written(TextLines()).endswith("attempt 2 failed\n")


def test_a_fault_is_one_line_too():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        line = written(JsonLines({}), exc_info=True)
    assert line.count("\n") == 1
    assert "ValueError: two\nlines" in json.loads(line)["error"]


def test_people_read_it_at_the_end_of_the_line():
    assert written(TextLines(), extra=about(heal="h", attempt=2)).endswith("failed [heal=h attempt=2]\n")
    assert written(TextLines()).endswith("attempt 2 failed\n")


@pytest.mark.parametrize(
    ("environment", "formatter"),
    [({}, TextLines), ({"CHECKPOINTHEAL_LOG": "text"}, TextLines), ({"CHECKPOINTHEAL_LOG": "json"}, JsonLines)],
)
def test_the_environment_says_who_reads(environment, formatter):
    begin(environment)
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler.formatter, formatter)


def test_a_word_that_means_nothing_keeps_nothing_from_starting(capsys):
    begin({"CHECKPOINTHEAL_LOG": "yaml"})
    assert "CHECKPOINTHEAL_LOG is 'yaml'" in capsys.readouterr().err


def test_whatever_is_quoted_a_line_for_people_stays_one_and_does_nothing_to_a_terminal():
    line = written(TextLines(), extra=about(reason="x\n2026-01-01 INFO all is well\x1b[2J"))
    assert line.count("\n") == 1
    assert line.endswith(r"[reason=x\n2026-01-01 INFO all is well\x1b[2J]" + "\n")


FORGED = '\x9b2J\x85{"level": "error"}\u2028y\u2029\u202e\x7f\ud800\nz ä'


def test_whatever_is_quoted_a_line_for_machines_stays_one_and_does_nothing_to_a_terminal():
    line = written(JsonLines({}), extra=about(reason=FORGED, pod="größe"))
    assert len(line.splitlines()) == 1
    assert line.removesuffix("\n").isprintable()
    assert json.loads(line)["reason"] == FORGED
    assert '"pod": "größe"' in line


def a_fault() -> str:
    try:
        raise ValueError(f"no name: {FORGED}\n2026-01-01 INFO all is well\x1b[2J")
    except ValueError:
        return written(TextLines(), exc_info=True, stack_info=True)


def test_the_lines_of_a_fault_are_no_lines_of_the_log_whatever_it_quotes():
    head, *trace = a_fault().removesuffix("\n").split("\n")
    assert head.endswith("attempt 2 failed")
    assert all(each.startswith("  ") and each.isprintable() for each in trace)
    assert r"  2026-01-01 INFO all is well\x1b[2J" in trace
    assert any(each.startswith("  ValueError: no name: ") for each in trace)
    assert any("in a_fault" in each for each in trace)
    assert any(each.startswith("  Stack (most recent call last)") for each in trace)
