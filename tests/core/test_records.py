"""What is written down after a decision: all of it, and once."""

import pytest

from builders_core import (
    NOW,
    a_job,
    a_new_job,
    decided,
    m,
    replaced,
    with_all_training,
    with_crash,
    with_followers,
    with_received,
)
from checkpointheal_operator.core.decide import decide
from checkpointheal_operator.core.decisions import Decision, EndEpoch, Nothing, Wait
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.reasons import Reason, Rung
from checkpointheal_operator.core.records import advance, prune
from checkpointheal_operator.core.view import JobView


def a_whole_heal() -> list[tuple[JobView, Decision]]:
    """Every decision from a loss to the verdict, with the view that it was made of."""
    view = with_followers(with_crash(a_job(), m("0/0")))
    made: list[tuple[JobView, Decision]] = []
    for change in (lambda v: v, lambda v: with_received(v, v.heals[-1].assignment), with_all_training, lambda v: v):
        view = change(_replace(view) if not made else view)
        while not isinstance(decision := decide(view, NOW), Nothing | Wait):
            made.append((view, decision))
            view = advance(view, decision, NOW)
    return made


def _replace(view: JobView) -> JobView:
    return replaced("1/0").model_copy(update={"epoch": view.epoch})


HEAL = a_whole_heal()


def test_the_example_holds_every_kind_of_decision():
    assert {type(decision).__name__ for _, decision in HEAL} == {
        "EndEpoch",
        "OpenHeal",
        "Assign",
        "BeginEpoch",
        "Conclude",
    }


@pytest.mark.parametrize(("view", "decision"), HEAL, ids=lambda each: type(each).__name__)
def test_writing_a_decision_down_twice_changes_nothing_more(view, decision):
    once = advance(view, decision, NOW)
    assert once != view
    assert advance(once, decision, NOW + 5) == once


@pytest.mark.parametrize(("view", "decision"), HEAL, ids=lambda each: type(each).__name__)
def test_facts_are_never_touched(view, decision):
    after = advance(view, decision, NOW)
    assert (after.pods, after.heard, after.policy) == (view.pods, view.heard, view.policy)


def test_waiting_leaves_no_trace():
    view = a_job()
    assert advance(view, Nothing(reason=Reason.ALL_TRAIN, message=""), NOW) is view
    assert advance(view, Wait(until=None, reason=Reason.NOT_WAITING, message=""), NOW) is view


def test_a_heal_counts_from_the_end_of_its_epoch():
    view, _ = decided(replaced("1/0"))
    heal = view.heals[0]
    assert (heal.noticed_at, heal.opened_at, heal.assigned_at, heal.tries) == (NOW - 1, NOW, NOW, 1)


def test_a_heal_without_an_epoch_before_it_counts_from_its_opening():
    view = replaced("1/0")
    view = view.model_copy(update={"epoch": view.epoch.model_copy(update={"ended_at": None})})
    assert decided(view)[0].heals[0].noticed_at == NOW


def test_an_epoch_carries_what_it_began_with_and_its_heals_too():
    view, _ = decided(replaced("1/0"))
    assert view.heals[0].assignment is not None
    view, _ = decided(with_received(view, view.heals[0].assignment), NOW + 1)
    assert (view.epoch.number, view.epoch.open, view.epoch.step, view.epoch.rung) == (2, True, 10, Rung.PEER)
    assert (view.heals[0].epoch, view.heals[0].rung, view.heals[0].begun_at) == (2, Rung.PEER, NOW + 1)


def test_a_heal_that_is_over_or_of_another_request_is_not_touched_by_an_epoch():
    view, _ = decided(replaced("1/0"))
    assert view.heals[0].assignment is not None
    over = view.heals[0].model_copy(update={"name": "over", "concluded_at": 1.0})
    other = view.heals[0].model_copy(update={"name": "other", "request": 77, "concluded_at": 1.0})
    view, _ = decided(
        with_received(view.model_copy(update={"heals": (over, other, *view.heals)}), view.heals[0].assignment)
    )
    assert [heal.epoch for heal in view.heals] == [None, None, 2]


def test_ending_again_adds_trainers_to_be_killed_and_nothing_else():
    first = EndEpoch(epoch=1, lost=(m("1/0"),), restart_trainer=("t1",), reason=Reason.TRAINER_STOPPED, message="a")
    second = EndEpoch(epoch=1, lost=(m("2/0"),), restart_trainer=("t2",), reason=Reason.TRAINER_STOPPED, message="b")
    once = advance(a_job(), first, NOW)
    twice = advance(once, second, NOW + 1)
    assert twice.epoch == once.epoch.model_copy(update={"restarts": ("t1", "t2")})
    assert (once.epoch.ended_at, once.epoch.lost, once.epoch.message) == (NOW, (m("1/0"),), "a")


def test_of_an_epoch_that_the_records_never_saw_only_its_number_is_written_down():
    behind = EndEpoch(epoch=7, lost=(), reason=Reason.RECORDS_BEHIND, message="why")
    epoch = advance(a_job(), behind, NOW).epoch
    assert (epoch.number, epoch.open, epoch.members, epoch.rung, epoch.step) == (7, False, (), None, None)


def test_history_keeps_every_open_heal_and_the_latest_of_the_others():
    view, _ = decided(replaced("1/0"))
    heal = view.heals[0]
    over = tuple(heal.model_copy(update={"name": f"h{n}", "concluded_at": float(n)}) for n in range(5))
    heals: tuple[HealRecord, ...] = (over[3], heal, *over[:3], over[4])
    assert [each.name for each in prune(heals, 2)] == ["h3", heal.name, "h4"]
    assert prune(heals, 0) == (heal,)


def test_an_epoch_of_a_new_job_has_no_heal():
    view, _ = decided(a_new_job())
    assert view.heals == ()
    assert view.epoch.rung == Rung.FRESH
