"""What may be written behind an option of a command line? Must not know any command."""

import argparse
from collections.abc import Callable


def at_least(least: int, said: str) -> Callable[[str], int]:
    """A whole number, not below `least`: of another one it is `said` what may be written."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{said}, not {text!r}")
        return int(text)

    return read
