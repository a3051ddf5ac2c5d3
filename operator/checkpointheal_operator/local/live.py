"""The live view of a job on a terminal: a row per member, the latest lines below.

Reads what `rows` makes of the view and nothing else.
"""

from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from checkpointheal.contract.report import TransferFacts
from checkpointheal_operator.core.decisions import Decision
from checkpointheal_operator.core.status import job_conditions
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.local.rows import Row, rows
from checkpointheal_operator.local.screen import in_words

LINES = 8
BAR = 20
_STYLES = {"training": "green", "finished": "green", "done": "green", "waiting": "yellow", "starting": "yellow"}
_ALARM = "red"


class LiveView:
    """Redraws itself after each look."""

    def __init__(self, console: Console) -> None:
        self._lines: deque[str] = deque(maxlen=LINES)
        self._view: JobView | None = None
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=8, transient=False)

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last picture where it is."""
        self._live.stop()

    def told(self, decision: Decision) -> None:
        """The latest lines hold what is waited for too: it is why nothing moves."""
        self.noted(in_words(decision))

    def noted(self, sentence: str) -> None:
        """One line below the rows."""
        self._lines.append(sentence)

    def looked(self, view: JobView) -> None:
        """Show this view from now on."""
        self._view = view

    def _draw(self) -> Group:
        below = Text("\n".join(self._lines), style="dim", overflow="ellipsis", no_wrap=True)
        return Group(_table(self._view), below) if self._view else Group(below)


def _table(view: JobView) -> Table:
    table = Table(title=_title(view), title_justify="left", box=None, pad_edge=False)
    for head in ("member", "pod", "trainer", "step", "rung", ""):
        table.add_column(head)
    for row in rows(view):
        step = "-" if row.step is None else str(row.step)
        table.add_row(row.member, row.pod, _state(row), step, row.rung, bar(row.receiving))
    return table


def _title(view: JobView) -> str:
    true = [each.type for each in job_conditions(view, _latest(view)) if each.status]
    return f"{view.job}: epoch {view.epoch.number}, {', '.join(true) or 'starting'}"


def _latest(view: JobView) -> float:
    """The time of the view itself: it is as old as its latest fact."""
    return max((heard.at for heard in view.heard), default=view.leader_since)


def _state(row: Row) -> Text:
    return Text(row.trainer, style=_STYLES.get(row.trainer, _ALARM))


def bar(transfer: TransferFacts | None) -> str:
    """How far a transfer is; empty where none runs."""
    if transfer is None:
        return ""
    share = transfer.bytes / transfer.total if transfer.total else 0.0
    full = int(share * BAR)
    return f"{'█' * full}{'░' * (BAR - full)} {share:4.0%} from {transfer.donor or '?'}"
