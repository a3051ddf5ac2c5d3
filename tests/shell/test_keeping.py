"""A job's log says what it waits for once, for however long it waits."""

import logging

import pytest

from builders_api import JOB, WHERE
from builders_core import NOW, a_job, ended, m, with_followers, with_heard
from checkpointheal_operator.core.decide import decide
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.shell.keeping import Keeper, Ties
from checkpointheal_operator.shell.look import Looked, Surroundings
from checkpointheal_operator.shell.objects import Listening
from fake_cluster import FakeCluster


def silent(view: JobView, now: float) -> JobView:
    """All are heard but one."""
    return with_heard(with_heard(view, m("0/0"), at=now), m("1/0"), at=now)


def test_an_agent_that_is_silent_is_a_line_once_however_long_it_is(caplog: pytest.LogCaptureFixture) -> None:
    keeper = Keeper(
        Surroundings(FakeCluster(), lambda: NOW), (WHERE, JOB), Ties(lambda: Listening(NOW), lambda _: None)
    )
    view = with_heard(with_followers(ended(a_job(3), "1/0")), m("2/0"), at=NOW - 30)
    with caplog.at_level(logging.INFO, "checkpointheal.operator"):
        for now in (NOW, NOW + 5, NOW + 10):
            seen = silent(view, now)
            keeper._take(Looked(seen, (decide(seen, now),), None))
    assert [each.getMessage() for each in caplog.records] == [
        "Wait (HeartbeatStale): the agent of 2/0 was last heard 30.0 s ago"
    ]
