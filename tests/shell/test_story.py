"""Each line of a heal's story says which heal, whose, why, and in a sentence."""

import logging

from builders_core import NOW, decided, m, replaced, with_received
from builders_heals import a_heal
from checkpointheal_operator.core.decide import decide
from checkpointheal_operator.core.decisions import (
    Assign,
    BeginEpoch,
    Conclude,
    Decision,
    EndEpoch,
    LeaveEpoch,
    OpenHeal,
    Restart,
    Wait,
)
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.records import advance
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.shell.story import Line, lines

VIEW, MADE = decided(replaced("1/0"))
(HEAL,) = VIEW.heals
OPENED, ASSIGNED = (next(each for each in MADE if isinstance(each, kind)) for kind in (OpenHeal, Assign))


def only(decision: Decision, view: JobView = VIEW) -> Line:
    (line,) = lines(decision, view)
    return line


def test_a_heal_that_is_opened_and_one_that_is_assigned_are_told_by_name():
    assert HEAL.assignment is not None
    known = {"job": "demo", "heal": HEAL.name, "member": m("1/0")}
    line = only(OPENED)
    assert line.about == known | {"reason": "Replaced", "epoch": 1}
    assert line.message == f"OpenHeal 1/0 (Replaced): {OPENED.message}"
    about = dict(only(ASSIGNED).about)
    assert about.pop("attempt") == HEAL.assignment.attempt
    assert about.pop("epoch") is None
    assert about == known | {"reason": str(ASSIGNED.reason)}


def test_the_end_of_an_epoch_says_why():
    line = only(EndEpoch(epoch=1, lost=(m("1/0"),), reason=Reason.POD_LOST, message="it is gone"))
    assert line == ("EndEpoch 1 (PodLost): it is gone", {"job": "demo", "reason": "PodLost", "epoch": 1}, logging.INFO)


def test_that_an_epoch_is_to_be_left_says_for_whom():
    line = only(LeaveEpoch(epoch=1, back=(m("1/0"),), reason=Reason.MEMBER_RETURNS, message="1/0 is back"))
    about = {"job": "demo", "reason": "MemberReturns", "epoch": 1}
    assert line == ("LeaveEpoch 1 (MemberReturns): 1/0 is back", about, logging.INFO)


def test_that_a_trainer_aside_is_to_be_killed_says_which_and_why():
    line = only(Restart(epoch=1, restart_trainer=("t1",), reason=Reason.TRAINER_STOPPED, message="1/0 stands still"))
    about = {"job": "demo", "reason": "TrainerStopped", "epoch": 1}
    assert line == ("Restart t1 in epoch 1 (TrainerStopped): 1/0 stands still", about, logging.INFO)


def test_what_is_waited_for_while_one_heal_is_open_is_about_that_heal():
    wait = Wait(until=None, reason=Reason.TRANSFERRING, message="it is under way")
    assert only(wait).about["heal"] == HEAL.name
    assert only(Wait(until=1.8e9, reason=Reason.TRANSFERRING, message="it is under way")) == only(wait)
    two = VIEW.model_copy(update={"heals": (HEAL, HEAL.model_copy(update={"name": "another"}))})
    assert "heal" not in only(wait, two).about


def test_with_an_epoch_each_heal_that_it_answers_is_told():
    assert HEAL.assignment is not None
    view = with_received(VIEW, HEAL.assignment)
    begun = decide(view, NOW)
    assert isinstance(begun, BeginEpoch)
    first, answer = lines(begun, advance(view, begun, NOW))
    assert "heal" not in first.about
    assert (answer.about["heal"], answer.about["epoch"]) == (HEAL.name, 2)
    assert answer.message.startswith("1/0 goes on in epoch 2, from Peer: ")


def test_only_a_heal_that_is_less_than_one_is_a_warning():
    warned = (Reason.FELL_BACK, Reason.PRIVATE_STATE_BEHIND)
    for reason, level in ((Reason.HEALED, logging.INFO), *((each, logging.WARNING) for each in warned)):
        view = VIEW.model_copy(update={"heals": (a_heal(),)})
        verdict = Conclude(heal="h1", recipient=m("1/0"), healed=True, reason=reason, message="over")
        line = only(verdict, view)
        assert (line.level, line.about["heal"], line.about["reason"]) == (level, "h1", str(reason))
        assert "attempt" in line.about
