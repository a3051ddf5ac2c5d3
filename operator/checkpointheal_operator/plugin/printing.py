"""How is an answer drawn on this terminal, or written where there is none?

A terminal's width is kept: sentences wrap under their heads, columns fold. Without a terminal nothing is broken and
nothing is coloured, so that other programs can read it. Much of what is said others wrote: of it only letters come
through. Must not know what is said.
"""

import textwrap
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from checkpointheal.contract.base import shown
from checkpointheal_operator.plugin.pages import Grid, Page, Title, Told

STYLES = {"plain": "", "good": "green", "bad": "bold red", "quiet": "dim"}
ENDLESS = 100_000
NARROWEST, GAP = 20, 2


def console_on(stream: TextIO) -> Console:
    """A console that is as wide as its terminal, or wide enough for everything."""
    console = Console(file=stream, highlight=False, emoji=False, markup=False)
    if not console.is_terminal:
        console.width = ENDLESS
    return console


def write(console: Console, page: Page) -> None:
    """Draw it; without a terminal, plain lines without spaces at their ends."""
    if console.is_terminal:
        _draw(console, page)
        return
    with console.capture() as captured:
        _draw(console, page)
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _draw(console: Console, page: Page) -> None:
    for block in page:
        match block:
            case Title():
                console.print(Text(shown(block.text), style="bold"), soft_wrap=True)
            case Told():
                _sentence(console, block)
            case Grid():
                _table(console, block._replace(rows=tuple(tuple(map(shown, row)) for row in block.rows)))


def _table(console: Console, block: Grid) -> None:
    if block.folds or _natural(block) <= console.width:
        console.print(Padding(grid(block), (0, 0, 0, block.indent), expand=False))
    else:
        _stacked(console, block)


def grid(block: Grid) -> Table:
    """Columns that fold, and lose nothing."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, head in enumerate(block.heads):
        table.add_column(head, overflow="fold", no_wrap=number == 0)
    for row in block.rows:
        table.add_row(*map(Text, row))
    return table


def _widths(block: Grid) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(block.heads, *block.rows, strict=True)]


def _natural(block: Grid) -> int:
    return block.indent + sum(_widths(block)) + GAP * (len(block.heads) - 1)


def _stacked(console: Console, block: Grid) -> None:
    """As many columns as fit; the others below each row, with their heads."""
    fits, used = 0, block.indent
    for width in _widths(block):
        used += width + GAP
        if used - GAP > console.width:
            break
        fits += 1
    kept = Grid(block.heads[:fits], tuple(row[:fits] for row in block.rows), block.indent)
    lines = _rendered(kept)
    console.print(lines[0])
    for line, row in zip(lines[1:], block.rows, strict=True):
        console.print(line)
        rest = zip(block.heads[fits:], row[fits:], strict=True)
        below = ", ".join(f"{head.lower()} {cell}" for head, cell in rest)
        _sentence(console, Told(below, indent=block.indent + 4, tone="quiet"))


def _rendered(block: Grid) -> list[Text]:
    """Each row as a line."""
    widths = _widths(block)

    def line(cells: tuple[str, ...], style: str) -> Text:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True))
        return Text(" " * block.indent + (" " * GAP).join(padded).rstrip(), style=style, no_wrap=True)

    return [line(block.heads, "bold"), *(line(row, "") for row in block.rows)]


def _sentence(console: Console, told: Told) -> None:
    first, rest = " " * told.indent + told.head, " " * (told.indent + len(told.head))
    lines = textwrap.wrap(
        told.text,
        max(console.width, len(rest) + NARROWEST),
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
        break_long_words=False,
    )
    text = "\n".join(map(shown, lines or [first]))
    console.print(Text(text, style=STYLES[told.tone]), soft_wrap=True)
