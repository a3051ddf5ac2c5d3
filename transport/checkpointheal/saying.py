"""How is a sentence said to somebody who may have hung up?

What is lost is the sentence, never the process that says it, nor its exit status: a status line is no reason for a
training to end. Must not know what is said.
"""

import atexit
import contextlib
import io
import os
import sys
from typing import Any, TextIO


def say(text: str, stream: TextIO | None) -> None:
    """Write it now. Where nobody can be told, because the stream is closed, full or read by nobody, nothing happens."""
    if stream is None:
        return
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        atexit.unregister(_let_go)
        atexit.register(_let_go)


def speak_any_encoding(stream: TextIO | None) -> None:
    """Have letters that its encoding lacks written as escapes: names of others have any, and raise nothing then."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


class Saying:
    """A stream that raises nothing, for those who write by themselves; in all else it is like the one it is made of."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As `say`."""
        say(text, self._stream)
        return len(text)

    def flush(self) -> None:
        """It has been."""

    def __getattr__(self, name: str) -> Any:
        """Its terminal, its encoding."""
        return getattr(self._stream, name)


def _let_go() -> None:
    """What is still to be written would be tried again by the interpreter's end, which makes its own status of it."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
