"""How is a namespace watched on a terminal: jobs, a bar for each transfer, the latest lines below?

And on none: lines as things happen. Must not know how anything is heard.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from checkpointheal.contract.base import shown
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.plugin.heal_words import crossed, donor, going, is_open, recipient, share
from checkpointheal_operator.plugin.seen import Seen
from checkpointheal_operator.plugin.standing import epoch_told, tone_of
from checkpointheal_operator.plugin.words import age

LINES, BAR = 8, 20


class Screen(Protocol):
    """Whoever shows what is watched."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""

    def show(self, seen: Seen, lines: Iterable[str]) -> None:
        """How things stand now, and what has happened since the last time."""


class PlainLines:
    """One line for each thing that happens."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to put back."""

    def show(self, seen: Seen, lines: Iterable[str]) -> None:
        """The lines alone: a table cannot be redrawn here."""
        for line in lines:
            self._stream.write(f"{time.strftime('%H:%M:%S')}  {shown(line)}\n")
        self._stream.flush()


class LiveScreen:
    """Redraws itself, ages included. `clock` tells seconds since 1970."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen = Seen()
        self._lines: deque[str] = deque(maxlen=LINES)
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=4)

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last picture where it is."""
        self._live.stop()

    def show(self, seen: Seen, lines: Iterable[str]) -> None:
        """Show this from now on."""
        self._seen = seen
        self._lines.extend(f"{time.strftime('%H:%M:%S')}  {line}" for line in lines)

    def _draw(self) -> RenderableType:
        return picture(self._seen, tuple(self._lines), self._clock())


def picture(seen: Seen, lines: tuple[str, ...], now: float) -> Group:
    """Jobs, open heals, lines."""
    parts: list[RenderableType] = [_job(seen, number, now) for number in range(len(seen.policies))]
    if not parts:
        parts.append(Text("there is no CheckpointHeal here", style="dim"))
    if opened := [each for each in seen.heals if is_open(each)]:
        parts += [Text(), _heals(opened, now)]
    if lines:
        parts += [Text(), Text("\n".join(map(shown, lines)), style="dim", overflow="fold")]
    return Group(*parts)


def _job(seen: Seen, number: int, now: float) -> Text:
    policy = seen.policies[number]
    line = Text(shown(f"{policy.metadata.namespace}/{policy.metadata.name}"), style="bold")
    for each in policy.status.conditions:
        if (tone := tone_of(each)) in ("good", "bad"):
            said = each.type if each.status == "True" else f"not {each.type}"
            line.append(f"  {shown(said)}", style="not bold green" if tone == "good" else "red")
    return line.append(f"\n  {shown(epoch_told(policy, now))}", style="not bold")


def _heals(opened: list[Heal], now: float) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("RECIPIENT", "CAUSE", "DONOR", "TRANSFER", "FOR"):
        table.add_column(head, overflow="fold")
    for heal in sorted(opened, key=lambda each: each.spec.opened_at):
        told = age(now - heal.spec.opened_at)
        cells = (recipient(heal), str(heal.spec.cause), donor(heal) or "-", bar(heal), told)
        table.add_row(*(Text(shown(each)) for each in cells))
    return table


def bar(heal: Heal) -> str:
    """How far its transfer is; where none runs, what it waits for."""
    part = share(heal)
    if part is None:
        return going(heal)
    full = int(part * BAR)
    return f"{'█' * full}{'░' * (BAR - full)} {crossed(heal)}"
