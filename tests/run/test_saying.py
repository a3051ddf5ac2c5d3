"""Whoever may have hung up ends nobody who speaks, and changes no exit status."""

import io
import os
import subprocess
import sys

import pytest

from builders_run import DEAF, PROMPT, SECONDS, deaf
from checkpointheal import cli, saying
from checkpointheal.saying import Saying, say, speak_any_encoding
from checkpointheal_operator.plugin import __main__ as plugin

RUN = [sys.executable, "-m", "checkpointheal.cli", "run", *PROMPT, "--restarts", "1", "--"]


@pytest.mark.parametrize("why", DEAF)
@pytest.mark.parametrize("more", [[], ["--nproc-per-node", "2"]])
def test_a_run_that_nobody_hears_leaves_with_the_trainers_status(tmp_path, why, more):
    script = f"echo x >> {tmp_path}/lives; exit 3"
    command = [*RUN[:-1], *more, "--", "sh", "-c", script]
    assert subprocess.run(command, **deaf(why, 2), timeout=SECONDS, check=False).returncode == 3
    assert (tmp_path / "lives").read_text().count("x") >= 2


@pytest.mark.parametrize("why", DEAF)
def test_what_cannot_be_said_does_not_become_the_exit_status(why):
    program = "import sys; from checkpointheal.saying import say; say('a\\n', sys.stdout); say('b\\n', sys.stdout)"
    done = subprocess.run([sys.executable, "-c", program], **deaf(why, 1), timeout=SECONDS, check=False)
    assert done.returncode == 0


class Full(io.StringIO):
    """Takes nothing."""

    def write(self, text):
        raise OSError("no space left on device")

    flush = write


def test_one_that_writes_by_itself_is_spared_too():
    stream = Full()
    saying_it = Saying(stream)
    assert (saying_it.write("abc"), saying_it.flush(), saying_it.isatty()) == (3, None, False)
    heard = io.StringIO()
    Saying(heard).write("abc")
    assert heard.getvalue() == "abc"
    heard.close()
    say("to one that is closed", heard)
    say("to one that there is not", None)


def test_at_the_end_only_a_stream_that_cannot_be_written_is_let_go_of(monkeypatch, tmp_path):
    with (tmp_path / "out").open("w") as out, open("/dev/full", "w") as full:
        out.write("kept")
        full.write("lost")
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", full)
        saying._let_go()
        assert (tmp_path / "out").read_text() == "kept"
        assert os.fstat(full.fileno()).st_rdev == os.stat(os.devnull).st_rdev
        monkeypatch.undo()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_letter_that_an_encoding_lacks_is_written_as_an_escape(encoding):
    heard = io.BytesIO()
    stream = io.TextIOWrapper(heard, encoding=encoding)
    speak_any_encoding(stream)
    stream.write("more…")
    stream.flush()
    assert heard.getvalue() == "more…".encode(encoding, errors="backslashreplace")


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_of_a_stream_without_an_encoding_nothing_is_asked(stream):
    speak_any_encoding(stream)


@pytest.mark.parametrize("main", [cli.main, plugin.main])
def test_every_command_can_be_written_in_any_encoding(main, monkeypatch):
    """The name of a pod, or half of a message, is no reason for a traceback."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert main(["--version"]) == 0
    assert sys.stdout.errors == "backslashreplace"
