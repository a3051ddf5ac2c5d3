"""Who may give, who may not and why, and in which order."""

import itertools
import random

import pytest

from builders_core import (
    NOW,
    a_generation,
    a_pod,
    decided,
    digest_of,
    holding,
    m,
    replaced,
    with_heard,
    with_pod,
    with_policy,
    with_report,
    with_transfer,
    without_pod,
)
from checkpointheal_operator.core.donors import Case, choose_donors, current_donor, due, rested_at, serving
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.restore import RestorePoint, restore_point
from checkpointheal_operator.core.view import JobView

RECIPIENT = m("1/0")
VIEW = replaced("1/0", ranks=2, replicas=3)


def a_case(view: JobView, heal: HealRecord | None = None, now: float = NOW, recipient: str = "1/0") -> Case:
    moment = at(view, now)
    point = restore_point(moment)
    assert isinstance(point, RestorePoint)
    return Case(moment, point, m(recipient), heal)


def refusals(view: JobView, heal: HealRecord | None = None) -> dict[str, Reason]:
    return {str(each.member): each.reason for each in choose_donors(a_case(view, heal)).refusals}


def eligible(case: Case) -> list[str]:
    return [str(each.place.member) for each in choose_donors(case).eligible]


def test_only_holders_of_the_same_coordinate_in_other_replicas_are_left():
    assert eligible(a_case(VIEW)) == ["0/0", "2/0"]
    assert refusals(VIEW) == {
        "0/1": Reason.COORDINATE_MISMATCH,
        "1/0": Reason.SAME_MEMBER,
        "1/1": Reason.SAME_REPLICA,
        "2/1": Reason.COORDINATE_MISMATCH,
    }


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        pytest.param(without_pod(VIEW, m("2/0")), Reason.POD_GONE, id="no pod"),
        pytest.param(with_pod(VIEW, m("2/0"), terminating=True), Reason.DRAINING, id="its pod is being deleted"),
        pytest.param(
            VIEW.model_copy(update={"heard": tuple(h for h in VIEW.heard if h.report.member != m("2/0"))}),
            Reason.NOT_HEARD_FROM,
            id="never heard",
        ),
        pytest.param(with_heard(VIEW, m("2/0"), at=NOW - 6), Reason.HEARTBEAT_STALE, id="silent"),
        pytest.param(holding(VIEW, "2/0", 9, 8), Reason.NOT_UP_TO_DATE, id="a step behind"),
        pytest.param(holding(VIEW, "2/0"), Reason.NOT_UP_TO_DATE, id="empty"),
        pytest.param(
            holding(holding(VIEW, "0/0", 10), "2/0", 10, schema_digest="6" * 32), Reason.NO_MAJORITY, id="another model"
        ),
        pytest.param(
            holding(VIEW, "2/0", 10, state_digest="e" * 32), Reason.NO_MAJORITY, id="other bytes, one against one"
        ),
    ],
)
def test_a_candidate_is_refused_by_the_first_rule_that_it_breaks(view, reason):
    case = a_case(VIEW)
    moment = at(view, NOW)
    ballots = case.point.ballots
    if reason == Reason.NO_MAJORITY:
        ballots = {**ballots, 0: type(ballots[0])(refused={"u2/0": reason, "u0/0": reason})}
    point = RestorePoint(10, case.point.rung, case.point.reason, "", ballots)
    found = choose_donors(Case(moment, point, RECIPIENT)).refusals
    assert {each.reason for each in found if each.member == m("2/0")} == {reason}


def test_bytes_and_models_that_the_vote_refused_do_not_give():
    view = replaced("1/0", replicas=4)
    assert refusals(holding(view, "3/0", 10, state_digest=digest_of(0, 10, "bad")))["3/0"] == Reason.DIGEST_DISAGREES
    assert refusals(holding(view, "3/0", 10, schema_digest="6" * 32))["3/0"] == Reason.SCHEMA_DIFFERS


def test_a_generation_that_was_not_read_in_time_does_not_give():
    view = holding(VIEW, "2/0", 10, state_digest=None)
    view = view.model_copy(update={"heard": tuple(h.model_copy(update={"at": NOW + 60}) for h in view.heard)})
    found = choose_donors(a_case(view, now=NOW + 60)).refusals
    assert [each.reason for each in found if each.member == m("2/0")] == [Reason.NOT_DIGESTED]


def test_a_pod_that_was_superseded_does_not_give():
    older = a_pod(m("2/0"), uid="older", name="older", seen_since=1.0)
    found = choose_donors(a_case(VIEW.model_copy(update={"pods": (*VIEW.pods, older)}))).refusals
    assert [(each.pod, each.reason) for each in found if each.member == m("2/0")] == [("older", Reason.SUPERSEDED)]


def a_heal(view: JobView, recipient: str = "1/0") -> tuple[JobView, HealRecord]:
    view, _ = decided(view)
    return view, next(heal for heal in view.heals if heal.recipient == m(recipient))


@pytest.mark.parametrize(
    ("failures", "rest"), [(0, None), (1, 1.0), (2, 2.0), (3, 4.0), (7, 64.0), (40, 64.0)], ids=str
)
def test_a_donor_that_failed_rests_twice_as_long_each_time_up_to_a_minute(failures, rest):
    view, heal = a_heal(VIEW)
    heal = heal.model_copy(update={"failed": ("u0/0",) * failures, "assigned_at": NOW})
    assert rested_at(at(view, NOW), heal, "u0/0") == (float("-inf") if rest is None else NOW + rest)


def test_a_donor_that_failed_is_refused_while_it_rests_and_comes_last_afterwards():
    view, heal = a_heal(VIEW)
    heal = heal.model_copy(update={"failed": ("u0/0",), "assigned_at": NOW})
    assert refusals(view, heal)["0/0"] == Reason.FAILED_THIS_HEAL
    assert eligible(a_case(view, heal, NOW + 1)) == ["2/0", "0/0"]


@pytest.mark.parametrize(("limit", "donors"), [(1, ["2/0"]), (2, ["2/0", "0/0"])])
def test_no_donor_serves_more_than_its_limit_and_the_idle_one_comes_first(limit, donors):
    view, _ = a_heal(with_policy(replaced("1/0", "3/0", replicas=4), donor_limit=limit))
    other = next(heal for heal in view.heals if heal.recipient == m("1/0"))
    rest = view.model_copy(update={"heals": (other,)})
    assert serving(at(rest, NOW), a_case(rest).point) == ["u0/0"]
    assert eligible(a_case(rest, recipient="3/0")) == donors
    assert ("0/0" in refusals_of(rest, "3/0", Reason.ALREADY_DONATING)) is (limit == 1)


def refusals_of(view: JobView, recipient: str, reason: Reason) -> list[str]:
    found = choose_donors(a_case(view, recipient=recipient)).refusals
    return [str(each.member) for each in found if each.reason == reason]


def test_a_donor_serves_until_the_deadline_or_the_arrival():
    view, heal = a_heal(VIEW)
    point = a_case(view).point
    assert serving(at(view, NOW), point) == ["u0/0"]
    assert serving(at(view, NOW), point, besides=heal.name) == []
    assert serving(at(view, due(at(view, NOW), heal)), point) == []
    received = with_report(view, RECIPIENT, generations=(a_generation(RECIPIENT, 10),))
    assert serving(at(received, NOW), a_case(received).point) == []
    closed = view.model_copy(update={"heals": (heal.model_copy(update={"concluded_at": NOW}),)})
    assert serving(at(closed, NOW), point) == []


def test_a_heal_without_an_assignment_is_never_due():
    view, heal = a_heal(VIEW)
    assert due(at(view, NOW), heal.model_copy(update={"assignment": None})) == float("inf")
    assert due(at(view, NOW), heal) == NOW + 30


@pytest.mark.parametrize(
    ("donor", "attempt", "current"), [("pod-2-0", 1, "u2/0"), ("pod-2-0", 7, "u0/0"), ("stranger", 1, "u0/0")]
)
def test_the_donor_at_work_is_the_one_that_the_recipient_names(donor, attempt, current):
    view, heal = a_heal(VIEW)
    assert heal.assignment is not None
    view = with_transfer(view, heal.assignment, "receiving", donor=donor, attempt=attempt)
    assert current_donor(at(view, NOW), heal, heal.assignment) == current


def ranked(**pods: dict[str, object]) -> list[str]:
    view = replaced("3/0", replicas=4)
    for name, changes in pods.items():
        view = with_pod(view, m(f"{name[1:]}/0"), **changes)
    return eligible(a_case(view, recipient="3/0"))


@pytest.mark.parametrize(
    ("pods", "order"),
    [
        pytest.param({}, ["0/0", "1/0", "2/0"], id="else the lowest member"),
        pytest.param({"r3": {"zone": "a"}, "r1": {"zone": "a"}}, ["1/0", "0/0", "2/0"], id="the same zone"),
        pytest.param({"r3": {"node": "n"}, "r0": {"node": "n"}}, ["1/0", "2/0", "0/0"], id="not the same node"),
    ],
)
def test_the_near_but_not_the_same_node_comes_first(pods, order):
    view = {f"r{n}": {"node": f"node-{n}", "zone": f"zone-{n}"} | pods.get(f"r{n}", {}) for n in range(4)}
    assert ranked(**view) == order


def test_the_same_build_comes_first():
    view = with_report(replaced("1/0"), m("0/0"), build="older torch")
    assert eligible(a_case(view)) == ["2/0", "0/0"]


def test_shuffling_changes_nothing():
    view = replaced("1/0", "3/1", replicas=4, ranks=2)
    expected = choose_donors(a_case(view))
    for seed in range(20):
        dice = random.Random(seed)
        shuffled = view.model_copy(
            update={
                name: tuple(dice.sample(getattr(view, name), len(getattr(view, name)))) for name in ("pods", "heard")
            }
        )
        assert choose_donors(a_case(shuffled)) == expected


def test_every_pod_and_every_empty_place_is_either_refused_or_ranked():
    for gone in itertools.combinations(["0/0", "0/1", "2/0"], 2):
        view = VIEW
        for each in gone:
            view = without_pod(view, m(each))
        choice = choose_donors(a_case(view))
        told = [each.member for each in choice.refusals] + [each.place.member for each in choice.eligible]
        assert sorted(told) == sorted(view.policy.members())


def test_a_recipient_without_pod_or_report_still_has_its_donors_ranked():
    assert eligible(a_case(without_pod(VIEW, RECIPIENT))) == ["0/0", "2/0"]


def test_without_a_ballot_nobody_is_believed():
    case = a_case(VIEW)
    bare = RestorePoint(10, case.point.rung, case.point.reason, "")
    assert choose_donors(Case(case.moment, bare, RECIPIENT)).eligible == ()
