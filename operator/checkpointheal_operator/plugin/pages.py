"""What does an answer consist of? Titles, sentences and grids, without a word about how they are drawn.

Pure. Must not know any terminal.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

Tone = Literal["plain", "good", "bad", "quiet"]


class Title(NamedTuple):
    """The head of a part."""

    text: str


class Told(NamedTuple):
    """A sentence; `head` is what its further lines are indented under."""

    text: str
    head: str = ""
    indent: int = 0
    tone: Tone = "plain"


class Grid(NamedTuple):
    """A table. `folds`: its last column holds sentences, which may take several lines."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    indent: int = 0
    folds: bool = False


def amiss(sentence: str, fix: str = "", indent: int = 0) -> Iterator[Told]:
    """What is amiss, and what mends it: each line of that by itself, for it may be a command."""
    yield Told(sentence, FLAW, indent, "bad")
    yield from (Told(line, MENDS, indent + 2) for line in fix.splitlines())


Block = Title | Told | Grid
Page = tuple[Block, ...]
EMPTY = Told("")
FLAW, MENDS = "! ", "-> "
"""Heads of what is amiss, and of what mends it."""
