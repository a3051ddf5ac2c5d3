"""What is shown of a job: rows from the view, lines from the decisions."""

import io
import os
from itertools import product
from pathlib import Path

import pytest
from rich.console import Console

from builders_absence import a_short_job
from builders_core import a_job, decided, ended, m, replaced, with_pod, with_trainer, with_transfer, without_pod
from checkpointheal.contract.report import TransferFacts
from checkpointheal_operator.core.decisions import Decision, EndEpoch, Nothing, Wait
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.local.live import LiveView, bar
from checkpointheal_operator.local.rows import rows
from checkpointheal_operator.local.screen import LOG, Lines, OperatorLog

ENDED = EndEpoch(epoch=3, lost=(m("1/0"),), reason=Reason.POD_LOST, message="the pod is gone")
QUIET = [Nothing(reason=Reason.ALL_TRAIN, message="all well"), Wait(until=None, reason=Reason.JOINING, message="soon")]


def receiving() -> JobView:
    """Pod 1/0 was replaced, and half its state has crossed."""
    view, _ = decided(replaced("1/0"))
    (heal,) = view.heals
    assert heal.assignment is not None
    return with_transfer(view, heal.assignment, "receiving", bytes=500)


def test_there_is_a_row_for_each_member_in_order() -> None:
    found = rows(a_job(replicas=2, ranks=2, step=10))
    assert [row.member for row in found] == ["0/0", "0/1", "1/0", "1/1"]
    assert {(row.trainer, row.step, row.rung, row.receiving) for row in found} == {("training", 10, "Fresh", None)}


@pytest.mark.parametrize(
    ("view", "trainer"),
    [
        (with_trainer(a_job(), m("1/0"), state="stopped"), "stopped"),
        (with_pod(a_job(), m("1/0"), finished=True), "finished"),
        (with_pod(a_job(), m("1/0"), terminating=True), "ending"),
        (without_pod(a_job(), m("1/0")), "none"),
        (a_job().model_copy(update={"heard": ()}), "starting"),
    ],
    ids=["as its agent says", "finished", "being deleted", "no pod", "no report yet"],
)
def test_a_row_says_where_the_trainer_stands(view: JobView, trainer: str) -> None:
    assert rows(view)[1].trainer == trainer


def test_between_two_epochs_no_rung_is_shown() -> None:
    assert {row.rung for row in rows(ended(a_job()))} == {""}


def test_who_is_left_out_is_shown_as_that() -> None:
    assert [row.rung for row in rows(a_short_job("1/0"))] == ["OwnMemory", "left out", "OwnMemory"]


def test_only_the_recipient_of_a_running_transfer_has_a_bar() -> None:
    assert [row.receiving.bytes if row.receiving else None for row in rows(receiving())] == [None, 500, None]


@pytest.mark.parametrize(("crossed", "total", "full"), [(0, 0, 0), (0, 10, 0), (5, 10, 10), (10, 10, 20)])
def test_a_bar_is_as_full_as_its_transfer(crossed: int, total: int, full: int) -> None:
    drawn = bar(TransferFacts(heal="h", attempt=1, state="receiving", donor="trainer-0", bytes=crossed, total=total))
    assert (drawn.count("█"), drawn.count("░")) == (full, 20 - full)
    assert drawn.endswith("from trainer-0")


def test_the_live_view_shows_members_transfer_and_the_latest_lines() -> None:
    written = io.StringIO()
    with LiveView(Console(file=written, width=160, force_terminal=True)) as live:
        live.told(ENDED)
        live.noted("trainer-1: a new one takes its place")
        live.looked(receiving())
    shown = written.getvalue()
    for part in ("new-1-0", "pod-2-0", "50%", "the pod is gone", "a new one takes its place"):
        assert part in shown


@pytest.mark.parametrize(("decision", "verbose"), list(product([ENDED, *QUIET], [False, True])))
def test_plain_lines_tell_what_is_done_and_what_is_waited_for_only_when_asked(
    decision: Decision, verbose: bool
) -> None:
    written = io.StringIO()
    with Lines(written, verbose=verbose) as lines:
        lines.told(decision)
        lines.looked(a_job())
    assert (decision.message in written.getvalue()) == (verbose or decision is ENDED)


def test_the_log_keeps_every_decision_in_order(tmp_path: Path) -> None:
    log = OperatorLog(tmp_path / "new" / "folder")
    for decision in (ENDED, *QUIET):
        log.told(decision)
    log.noted("and this")
    log.close()
    told = [line.partition(" ")[2] for line in (tmp_path / "new" / "folder" / LOG).read_text().splitlines()]
    assert told == [f"{each}: {each.message}" for each in (ENDED, *QUIET)] + ["and this"]


def test_a_log_that_cannot_be_written_is_complained_of_once_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / LOG).symlink_to("/dev/full")
    complaints: list[str] = []
    log = OperatorLog(tmp_path, complaints.append)
    log.noted("one")
    log.noted("two")
    log.close()
    assert complaints == [f"{tmp_path / LOG} cannot be written (No space left on device): the job goes on without it"]
    quiet = OperatorLog(tmp_path)
    quiet.noted("one")
    quiet.close()


def test_lines_that_nobody_reads_are_lost() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        lines = Lines(stream, verbose=False)
        lines.noted("one")
        lines.noted("two")
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)
    Lines(None, verbose=False).noted("three")
