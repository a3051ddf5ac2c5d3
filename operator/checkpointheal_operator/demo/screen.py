"""How does the demo look: bars while it trains, a line for each event, a table at the end?

Must not know how anything is done.
"""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from checkpointheal_operator.core.phases import PHASES
from checkpointheal_operator.demo.result import Result
from checkpointheal_operator.demo.scenes import HealRow, SceneResult

BAR_CELLS = 48
PROVED = (
    "identical: model, optimizer, random streams and data position of every rank are, bit for bit, "
    "those of the job that was never harmed"
)
_COLOURS = ("red", "magenta", "yellow", "cyan", "green", "blue", "white", "bright_green", "bright_blue")


class Screen(AbstractContextManager["Screen"]):
    """Bars at the bottom, lines above them; lines alone where this is no terminal."""

    def __init__(self, console: Console, ranks: int, steps: int) -> None:
        self.console, self._steps = console, steps
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=40), MofNCompleteColumn())
        self._bars = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._tasks: list[TaskID] = [self._bars.add_task(f"rank {rank}", total=steps) for rank in range(ranks)]

    def __enter__(self) -> Self:
        """Show the bars."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take them away."""
        self._bars.stop()

    def begin(self, title: str) -> None:
        """A new part of the demo: the bars start again."""
        for task in self._tasks:
            self._bars.reset(task, total=self._steps)
        self.console.print(Text(title, style="bold"), soft_wrap=True)

    def show_steps(self, steps: list[int]) -> None:
        """Move the bars."""
        for task, step in zip(self._tasks, steps, strict=True):
            self._bars.update(task, completed=step)

    def say(self, line: str) -> None:
        """One event."""
        self.console.print(Text(f"  {line}"), soft_wrap=True)

    def scene(self, result: SceneResult) -> None:
        """A scene's heals as a timeline."""
        for row in result.heals:
            for line in timeline(row):
                self.console.print(line, soft_wrap=True)
        self.say(f"every rank is past step {result.step} again {result.seconds:.1f} s after the kill")
        for what in result.missed:
            self.console.print(Text(f"  not as expected: {what}", style="bold red"))


def timeline(row: HealRow) -> tuple[Text, Text]:
    """The phases of a heal, each as long as it took, and below them their names and seconds."""
    total = sum(row.phases.values()) or 1.0
    bar, names = Text(f"  {row.recipient} "), Text("     ")
    for colour, (name, seconds) in zip(_COLOURS, row.phases.items(), strict=False):
        bar.append("━" * max(1, round(BAR_CELLS * seconds / total)), style=colour)
        names.append(f" {name} {seconds:.2f}", style=colour)
    return bar, names


def heal_table(result: Result) -> Table:
    """One column per heal: four facts, then the seconds of each phase. Narrow enough for 80 characters."""
    table = Table(title="heals", title_justify="left")
    table.add_column("recipient")
    for heal in result.heals:
        table.add_column(heal.recipient, justify="right")
    facts = {
        "donor": [heal.donor if heal.bytes else "itself" for heal in result.heals],
        "after": [heal.cause for heal in result.heals],
        "rung": [heal.rung for heal in result.heals],
        "step": [str(heal.step) for heal in result.heals],
        "MiB": [f"{heal.bytes / 2**20:.1f}" for heal in result.heals],
        "attempt": [str(heal.attempt or "") for heal in result.heals],
    }
    for name, cells in facts.items():
        table.add_row(name, *cells, end_section=name == "attempt")
    for phase in [name for name in PHASES if any(name in heal.phases for heal in result.heals)]:
        table.add_row(f"{phase} s", *(_seconds(heal.phases.get(phase)) for heal in result.heals))
    return table


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def verdict_lines(result: Result) -> tuple[Text, ...]:
    """The end of the story."""
    healed = ", ".join(f"{seconds:.1f} s" for seconds in result.heal_seconds)
    lines = [
        Text(f"healed:               {healed}; optimizer updates computed again: {result.steps_lost}"),
        Text(
            f"restarted from a file: {result.restart_seconds:.1f} s; "
            f"optimizer updates computed again: {result.restart_steps_lost}"
        ),
    ]
    if result.identical:
        lines.append(Text(PROVED, style="bold green"))
    lines += [Text(f"differs: {part}", style="bold red") for part in result.different]
    lines += [Text(f"not as expected: {what}", style="bold red") for what in result.missed]
    return tuple(lines)
