"""A donor is assigned only if it is there: by a word of the last second, or by its answer to a question."""

import itertools

import pytest

from builders_core import (
    NOW,
    a_job,
    decided,
    m,
    replaced,
    with_heard,
    with_new_pod,
    with_policy,
    with_report,
    with_transfer,
    words,
)
from checkpointheal_operator.core.decisions import Assign, Nothing, Wait, asked_by
from checkpointheal_operator.core.hearing import is_news
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.orders import orders
from checkpointheal_operator.core.probing import is_there
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.status import explain
from checkpointheal_operator.core.view import JobView

RECIPIENT = m("1/0")
HEAL = decided(replaced("1/0"))[0].heals[0].name
QUESTION = f"{HEAL}/0"


def spoke(view: JobView, member: str, age: float, answered: str | None = "") -> JobView:
    """Its agent was last heard so many seconds ago, and had then answered this."""
    return with_heard(with_report(view, m(member), answered=answered), m(member), at=NOW - age)


def both(age: float, other: float, answered: str | None = "") -> JobView:
    return spoke(spoke(replaced("1/0"), "0/0", age, answered), "2/0", other)


def last(view: JobView, now: float = NOW) -> Wait:
    decision = decided(view, now)[1][-1]
    assert isinstance(decision, Wait)
    return decision


def assigned(view: JobView, now: float = NOW) -> list[str]:
    found = [each for each in decided(view, now)[1] if isinstance(each, Assign)]
    return [str(donor.member) for each in found for donor in each.assignment.donors]


@pytest.mark.parametrize("age", [0.0, 0.9, 1.0, 1.9, 2.0, 5.9])
@pytest.mark.parametrize("answered", [None, "", QUESTION, f"{HEAL}/1", "heal-of-another/0"])
def test_whoever_spoke_just_now_or_has_answered_gives_and_who_is_of_an_older_build_is_not_asked(age, answered):
    view = both(age, 0.0, answered)
    is_there = age < 1.0 or answered in (None, QUESTION)
    waited_for = not is_there and age < 2.0
    assert assigned(view) == ([] if waited_for else ["0/0", "2/0"] if is_there else ["2/0"])
    assert asked_by(last(view)) == ({"u0/0": QUESTION} if waited_for else {})


def test_whoever_was_never_heard_is_not_asked():
    view, _ = decided(replaced("1/0"))
    assert is_there(at(view, NOW), view.heals[0], "nobody's")


def test_who_is_asked_is_waited_for_until_it_is_passed_over():
    wait = last(both(1.5, 0.0))
    assert (wait.reason, wait.until) == (Reason.NOT_PROBED, NOW + 0.5)
    assert wait.message == "0/0 was asked whether it is still there, and has not answered"
    later = spoke(spoke(replaced("1/0"), "0/0", 1.5), "2/0", -0.5)
    found = [each for each in decided(later, NOW + 0.5)[1] if isinstance(each, Assign)]
    assert [str(each) for each in found] == ["Assign 1/0 from 2/0 step=10 attempt=1 (StateMissing)"]
    refused = {str(each.member): each.reason for each in found[0].refusals}
    assert refused["0/0"] == Reason.NOT_PROBED


def test_an_answer_is_enough_however_late_the_operator_looks():
    view = spoke(spoke(replaced("1/0"), "0/0", 4.0, QUESTION), "2/0", 4.0, QUESTION)
    assert assigned(view) == ["0/0", "2/0"]


def test_where_nobody_else_could_give_even_who_is_late_is_waited_for():
    wait = last(both(3.0, 3.0))
    assert (wait.reason, wait.until) == (Reason.NOT_PROBED, None)
    assert asked_by(wait) == {"u0/0": QUESTION, "u2/0": QUESTION}
    assert assigned(spoke(both(3.0, 3.0), "2/0", 0.0, QUESTION)) == ["2/0"]


def test_a_donor_that_rests_comes_back_in_time_though_another_does_not_answer():
    view, _ = decided(replaced("1/0"))
    heal = view.heals[0]
    assert heal.assignment is not None
    failed = with_transfer(view, heal.assignment, "failed")
    wait = last(spoke(failed, "2/0", 3.0))
    assert (wait.reason, wait.until) == (Reason.NOT_PROBED, NOW + 1)
    assert wait.message == "2/0 was asked whether it is still there, and has not answered"


def test_each_attempt_asks_anew():
    view, _ = decided(replaced("1/0"))
    heal = view.heals[0]
    assert heal.assignment is not None
    failed = with_transfer(view, heal.assignment, "failed")
    wait = last(spoke(failed, "2/0", 1.5, QUESTION))
    assert asked_by(wait) == {"u2/0": f"{HEAL}/1"}


def test_several_heals_ask_in_one_wait_and_one_answer_serves_them_all():
    view = with_policy(replaced("0/0", "1/0", replicas=4), donor_limit=9)
    for member in ("2/0", "3/0"):
        view = spoke(view, member, 1.5)
    after, decisions = decided(view)
    asked = asked_by(decisions[-1])
    assert asked.keys() == {"u2/0", "u3/0"}
    answered = after
    for member in ("2/0", "3/0"):
        answered = spoke(answered, member, 0.0, asked[f"u{member}"])
    assert len([each for each in decided(answered)[1] if isinstance(each, Assign)]) == 2


def test_who_could_not_give_anyway_is_not_asked():
    view = spoke(with_new_pod(both(0.0, 0.0), m("2/0")), "2/0", 1.5)
    assert asked_by(last(view)) == {}


def test_where_no_donor_is_needed_nobody_is_asked():
    view = a_job()
    for member in view.policy.members():
        view = spoke(view, str(member), 1.5)
    assert asked_by(decided(view)[1][-1]) == {}
    assert asked_by(Nothing(reason=Reason.ALL_WELL, message="")) == {}
    assert asked_by(None) == {}


def test_the_question_stands_in_the_orders_of_whom_it_is_for_as_long_as_it_is_asked():
    view, decisions = decided(both(1.5, 0.0))
    asking = orders(view, decisions[-1])
    assert {str(member): each.question for member, each in asking.items()} == {"0/0": QUESTION, "1/0": "", "2/0": ""}
    plain = orders(view)
    changed = {str(member) for member in plain if plain[member].revision != asking[member].revision}
    assert changed == {"0/0"}


def test_an_answer_is_news_though_nothing_else_is():
    before = next(each for each in both(1.5, 0.0).heard if each.report.member == m("0/0"))
    report = before.report.model_copy(update={"answered": QUESTION, "sequence": 2})
    assert is_news(before, before.model_copy(update={"report": report}))
    again = before.model_copy(update={"report": before.report.model_copy(update={"sequence": 2})})
    assert not is_news(before, again)


def test_what_is_explained_to_people_does_not_come_and_go_with_each_report():
    view, _ = decided(both(1.5, 1.5))
    explanation = explain(view, NOW, RECIPIENT)
    assert [each.reason for each in explanation.refusals] == [Reason.SAME_MEMBER]
    assert len(explanation.donors) == 2


@pytest.mark.parametrize(("one", "other"), list(itertools.product([0.0, 1.5, 3.0], repeat=2)))
def test_whoever_answers_the_heal_is_assigned_in_the_end(one, other):
    view, decisions = decided(both(one, other))
    asked = asked_by(decisions[-1])
    for uid in asked:
        view = spoke(view, uid.removeprefix("u"), 0.5, asked[uid])
    made = words(decisions) + words(decided(view)[1])
    assert any(each.startswith("Assign 1/0 from") for each in made)
