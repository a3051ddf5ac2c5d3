"""A job that stands still though it could train is told of, whatever it waits for, and counted after a while."""

import pytest

from builders_core import NOW, a_job, a_new_job, ended, m, replaced, with_heard, with_pod, with_trainer
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import TrainerExit
from checkpointheal_operator.core.decide import decide
from checkpointheal_operator.core.decisions import Nothing, Wait
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.standstill import stands_still
from checkpointheal_operator.core.status import Condition, job_conditions
from checkpointheal_operator.core.view import JobView

MEMBER = m("1/0")
FAILED = TrainerExit(incarnation="t", epoch=0, code=1)
LONG = NOW + 1000
WAITS = Wait(until=None, reason=Reason.OLD_REQUEST, message="request 3 was answered already")


def at(now: float, view: JobView) -> JobView:
    """All agents are heard by then, and those that came are still there."""
    for member in view.policy.members():
        view = with_heard(view, member, at=now)
    return view


def waits_for(member: MemberId, **trainer: object) -> JobView:
    """Everybody waits for the first time but this one, which nobody has heard of in restore()."""
    return with_trainer(a_new_job(), member, state="absent", request=0, incarnation=None, **trainer)


def degraded(view: JobView, now: float) -> Condition:
    found = {each.type: each for each in job_conditions(view, now, decide(view, now))}
    return found["Degraded"]


def test_a_trainer_that_never_comes_is_named_with_how_its_container_is():
    view = at(LONG, with_pod(waits_for(MEMBER), MEMBER, trainer_ails="ImagePullBackOff"))
    told = degraded(view, LONG)
    assert (told.status, told.reason) == (True, "NotWaiting")
    assert told.message == (
        "the trainer of 1/0 is absent, not yet in restore(); its container in pod pod-1-0: ImagePullBackOff"
    )
    assert decide(view, LONG).message == told.message, "the log says the same"


@pytest.mark.parametrize(
    ("exit_", "told"),
    [
        (FAILED, "the trainer of 1/0 is absent, not yet in restore(); it ended last with code 1"),
        (FAILED.model_copy(update={"told": True}), "the trainer of 1/0 is absent, not yet in restore()"),
        (FAILED.model_copy(update={"code": 75}), "the trainer of 1/0 is absent, not yet in restore()"),
        (None, "the trainer of 1/0 is absent, not yet in restore()"),
    ],
)
def test_how_it_ended_last_is_told_where_that_was_a_failure(exit_, told):
    assert degraded(at(LONG, waits_for(MEMBER, exit=exit_)), LONG).message == told


def test_a_trainer_has_a_while_to_come_from_the_end_of_the_epoch_or_the_start_of_its_pod():
    began = with_trainer(ended(a_job(), "1/0", ended_at=NOW), MEMBER, state="starting")
    for member in (m("0/0"), m("2/0")):
        began = with_trainer(began, member, state="waiting", request=2)
    new = waits_for(MEMBER)
    for member in new.policy.members():
        new = with_pod(new, member, seen_since=NOW)
    for view in (began, new):
        assert degraded(at(NOW + 9, view), NOW + 9).reason != "NotWaiting"
        assert degraded(at(NOW + 10, view), NOW + 10).reason == "NotWaiting"


def test_who_trains_and_who_goes_is_not_told_to_come():
    assert degraded(at(LONG, a_job()), LONG).reason == "AllWell"
    view = at(LONG, with_pod(waits_for(MEMBER), MEMBER, terminating=True))
    assert "not yet in restore()" not in degraded(view, LONG).message


def test_who_is_new_in_a_job_that_trains_and_never_comes_is_named_too():
    view = at(LONG, with_trainer(a_job(), MEMBER, state="absent", incarnation=None))
    others = tuple(each for each in view.epoch.members if each.member != MEMBER)
    view = view.model_copy(update={"epoch": view.epoch.model_copy(update={"members": others})})
    assert degraded(view, LONG).reason == "NotWaiting"


def test_whatever_is_waited_for_is_told_after_a_while_where_nothing_else_is():
    view = at(LONG, ended(a_job(), "1/0", ended_at=LONG - 10))
    told = {each.type: each for each in job_conditions(view, LONG, WAITS)}
    assert (told["Degraded"].status, told["Degraded"].message) == (True, WAITS.message)
    young = at(LONG, ended(a_job(), "1/0", ended_at=LONG - 9))
    assert job_conditions(young, LONG, WAITS)[2].reason == "AllWell"
    with_a_flaw = with_pod(view, MEMBER, terminating=True)
    assert WAITS.message not in job_conditions(with_a_flaw, LONG, WAITS)[2].message


STANDS = at(LONG, ended(a_job(), "1/0", ended_at=LONG - 180))


@pytest.mark.parametrize(
    ("view", "last", "counted"),
    [
        pytest.param(STANDS, WAITS, True, id="it stands for long"),
        pytest.param(at(LONG, waits_for(MEMBER)), WAITS, True, id="its first epoch is due for long"),
        pytest.param(at(LONG, ended(a_job(), "1/0", ended_at=LONG - 179)), WAITS, False, id="not for long yet"),
        pytest.param(at(LONG, a_job()), WAITS, False, id="it trains"),
        pytest.param(ended(a_job(), "1/0", ended_at=0.0), WAITS, False, id="no agent is at work: it rests"),
        pytest.param(a_job().model_copy(update={"pods": (), "heard": ()}), WAITS, False, id="nobody is there"),
        pytest.param(
            STANDS, WAITS.model_copy(update={"reason": Reason.TRANSFERRING}), False, id="bytes cross, however many"
        ),
        pytest.param(STANDS, Nothing(reason=Reason.ALL_DONE, message=""), False, id="it is done"),
    ],
)
def test_a_job_that_stands_for_long_though_agents_are_at_work_is_counted(view, last, counted):
    assert stands_still(view, LONG, last) == counted


def test_where_everybody_is_done_nobody_stands_still():
    view = STANDS
    for member in view.policy.members():
        view = with_trainer(view, member, state="done")
    assert not stands_still(view, LONG, WAITS)


def test_while_a_heal_is_open_it_is_told_and_not_what_it_waits_for():
    view = at(LONG, replaced("1/0"))
    assert not stands_still(view.model_copy(update={"epoch": a_job().epoch}), LONG, WAITS)
