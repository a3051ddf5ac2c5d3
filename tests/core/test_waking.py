"""When a job is looked at again though nothing is new."""

from builders_core import NOW, a_job, replaced
from checkpointheal_operator.core.decide import decide
from checkpointheal_operator.core.decisions import Nothing, OpenHeal, Wait
from checkpointheal_operator.core.drills import wakes_at as drill_at
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.core.waking import wakes_at

NOTHING = Nothing(reason=Reason.ALL_DONE, message="all are done")


def a_wait(until: float | None) -> Wait:
    return Wait(until=until, reason=Reason.STILL_TRAINING, message="it trains")


def with_drills() -> JobView:
    """Each now and then a drill is due."""
    return a_job(drill_every=3600.0)


def test_a_wait_ends_when_it_says() -> None:
    assert wakes_at(a_job(), a_wait(NOW + 5.0), NOW) == NOW + 5.0
    assert wakes_at(a_job(), a_wait(None), NOW) is None


def test_where_there_is_nothing_to_do_only_a_new_fact_changes_that() -> None:
    assert wakes_at(a_job(), NOTHING, NOW) is None


def test_what_was_decided_last_without_an_end_to_it_goes_on_at_once() -> None:
    opened = decide(view := replaced("1/0"), NOW)
    assert isinstance(opened, OpenHeal)
    assert wakes_at(view, opened, NOW) == NOW


def test_a_drill_that_is_due_earlier_wakes_it_up_earlier() -> None:
    view = with_drills()
    due = drill_at(view, NOW)
    assert due is not None
    assert due > NOW
    assert wakes_at(view, NOTHING, NOW) == due
    assert wakes_at(view, a_wait(due - 1.0), NOW) == due - 1.0
    assert wakes_at(view, a_wait(due + 1.0), NOW) == due
