"""Keep an assignment, take another one, or wait for a donor."""

import pytest

from builders_core import (
    NOW,
    a_generation,
    decided,
    m,
    peer_of,
    replaced,
    with_new_pod,
    with_policy,
    with_report,
    with_transfer,
    without_pod,
    words,
)
from checkpointheal.contract.base import LONGEST
from checkpointheal.contract.report import Flaw
from checkpointheal_operator.core.decisions import Assign, Wait
from checkpointheal_operator.core.donors import Case, due, rested_at
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.plan import abandonment, heal_name, next_attempt, plan_assignment
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.restore import RestorePoint, restore_point
from checkpointheal_operator.core.view import JobView

RECIPIENT = m("1/0")
VIEW, _ = decided(replaced("1/0"))
HEAL = VIEW.heals[0]
ASSIGNMENT = HEAL.assignment
assert ASSIGNMENT is not None


def case_of(view: JobView, now: float = NOW) -> Case:
    point = restore_point(at(view, now))
    assert isinstance(point, RestorePoint)
    return Case(at(view, now), point, RECIPIENT, view.heals[0])


@pytest.mark.parametrize(
    ("view", "now", "reason", "blamed"),
    [
        pytest.param(VIEW, NOW, None, (), id="it is under way"),
        pytest.param(with_transfer(VIEW, ASSIGNMENT, "receiving"), NOW + 5, None, (), id="bytes cross"),
        pytest.param(with_transfer(VIEW, ASSIGNMENT, "failed"), NOW, Reason.TRANSFER_FAILED, ("u0/0",), id="it failed"),
        pytest.param(
            with_transfer(VIEW, ASSIGNMENT, "failed", donor="pod-2-0"),
            NOW,
            Reason.TRANSFER_FAILED,
            ("u2/0",),
            id="the second donor failed it",
        ),
        pytest.param(with_transfer(VIEW, ASSIGNMENT, "failed", attempt=7), NOW, None, (), id="another attempt failed"),
        pytest.param(without_pod(VIEW, m("0/0")), NOW, Reason.DONOR_LOST, ("u0/0",), id="the donor's pod is gone"),
        pytest.param(
            with_new_pod(VIEW, m("0/0")), NOW, Reason.DONOR_LOST, ("u0/0",), id="the donor's pod was replaced"
        ),
        pytest.param(VIEW, NOW + 30, Reason.TRANSFER_OVERDUE, ("u0/0",), id="the deadline passed"),
    ],
)
def test_an_assignment_stands_until_something_speaks_against_it(view, now, reason, blamed):
    view = view.model_copy(update={"heard": tuple(h.model_copy(update={"at": now}) for h in view.heard)})
    found = abandonment(case_of(view, now), view.heals[0], ASSIGNMENT)
    assert (found.reason if found else None, found.failed if found else ()) == (reason, blamed)


@pytest.mark.parametrize("skew", [-600, 0, 600])
def test_the_next_leader_gives_an_attempt_its_whole_time_whatever_the_clock_of_the_one_before(skew):
    heal = HEAL.model_copy(update={"assigned_at": NOW + skew})
    view = VIEW.model_copy(update={"leader_since": NOW, "heals": (heal,)})
    assert [due(at(view, now), heal) for now in (NOW, NOW + 29)] == [NOW + ASSIGNMENT.deadline] * 2


@pytest.mark.parametrize(("skew", "rested"), [(-600, NOW - 599), (0, NOW + 1), (600, NOW + 1)])
def test_a_donor_rests_no_longer_by_the_clock_of_another_leader(skew, rested):
    heal = HEAL.model_copy(update={"assigned_at": NOW + skew, "failed": ("u0/0",)})
    view = VIEW.model_copy(update={"leader_since": NOW})
    assert rested_at(at(view, NOW), heal, "u0/0") == rested


def test_an_assignment_of_another_step_is_given_up_and_nobody_is_to_blame():
    view = VIEW
    for each in ("0/0", "2/0"):
        view = with_report(view, m(each), generations=(a_generation(m(each), 9),))
    found = abandonment(case_of(view), HEAL, ASSIGNMENT)
    assert found is not None
    assert (found.reason, found.failed) == (Reason.STEP_CHANGED, ())
    assert found.message == "attempt 1 was for other bytes than those of step 9 that are wanted now"


def test_without_a_ballot_nothing_is_wanted():
    case = case_of(VIEW)
    empty = RestorePoint(None, case.point.rung, case.point.reason, "")
    found = abandonment(Case(case.moment, empty, RECIPIENT, HEAL), HEAL, ASSIGNMENT)
    assert found is not None
    assert found.reason == Reason.STEP_CHANGED


@pytest.mark.parametrize(
    ("said", "told"),
    [({"message": "gone"}, "gone"), ({"reason": "PeerLost"}, "PeerLost"), ({}, "the recipient does not say why")],
)
def test_a_failure_is_told_in_the_recipients_words(said, told):
    found = abandonment(case_of(with_transfer(VIEW, ASSIGNMENT, "failed", **said)), HEAL, ASSIGNMENT)
    assert found is not None
    assert found.message == f"attempt 1 failed: {told}"


def planned(view: JobView, now: float = NOW) -> Assign | Wait:
    case, heal = case_of(view, now), view.heals[0]
    return plan_assignment(case, heal, abandonment(case, heal, ASSIGNMENT))


def test_after_a_failure_the_next_donor_takes_over_with_a_higher_attempt():
    plan = planned(with_transfer(VIEW, ASSIGNMENT, "failed"))
    assert str(plan) == "Assign 1/0 from 2/0 step=10 attempt=2 (TransferFailed)"
    assert isinstance(plan, Assign)
    assert plan.failed == ("u0/0",)


def test_only_donors_of_the_same_bytes_stand_behind_the_first():
    view = with_report(
        replaced("1/0"), m("2/0"), build="other", generations=(a_generation(m("2/0"), 10, state_digest="e" * 32),)
    )
    _, decisions = decided(view)
    assert words(decisions)[1] == "Assign 1/0 from 0/0 step=10 attempt=1 (StateMissing)"


def test_the_best_donors_alone_are_named_however_many_could_give():
    _, decisions = decided(replaced("1/0", replicas=12))
    named = ",".join(f"{replica}/0" for replica in (0, 2, 3, 4, 5, 6, 7, 8))
    assert words(decisions)[1] == f"Assign 1/0 from {named} step=10 attempt=1 (StateMissing)"


def test_behind_the_donors_that_are_named_another_one_takes_over():
    view, _ = decided(replaced("1/0", replicas=12))
    for each in view.heals[0].assignment.donors:
        view = without_pod(view, each.member)
    _, decisions = decided(view)
    assert words(decisions)[0] == "Assign 1/0 from 9/0,10/0,11/0 step=10 attempt=2 (DonorLost)"


def test_the_deadline_follows_the_size():
    big = 6_000_000_000
    view = replaced("1/0")
    for each in ("0/0", "2/0"):
        view = with_report(view, m(each), generations=(a_generation(m(each), 10, bytes=big),))
    _, decisions = decided(view)
    assert isinstance(decisions[1], Assign)
    assert decisions[1].assignment.deadline == 120
    assert ASSIGNMENT.deadline == 30


def test_a_floor_so_low_that_no_order_could_say_its_deadline_still_heals():
    view = with_policy(replaced("1/0"), transfer_floor_bytes_per_second=1)
    for each in ("0/0", "2/0"):
        view = with_report(view, m(each), generations=(a_generation(m(each), 10, bytes=2_000_000_000),))
    _, decisions = decided(view)
    assert isinstance(decisions[1], Assign)
    assert decisions[1].assignment.deadline == LONGEST


def test_with_every_donor_at_rest_the_first_to_have_rested_is_waited_for():
    heal = HEAL.model_copy(update={"failed": ("u0/0", "u2/0", "u2/0")})
    plan = plan_assignment(case_of(VIEW), heal, None)
    assert isinstance(plan, Wait)
    assert (plan.reason, plan.until) == (Reason.DONORS_BUSY, NOW + 1)


def test_with_every_donor_at_its_limit_a_new_fact_is_waited_for():
    view, decisions = decided(replaced("1/0", "2/0", "3/0", replicas=4, donor_limit=1))
    assert [each for each in words(decisions) if each.startswith("Assign")] == [
        "Assign 1/0 from 0/0 step=10 attempt=1 (StateMissing)"
    ]
    assert len(view.heals) == 3


UNCERTIFIED = {"flaws": (Flaw(reason="NoCertificate"),)}
LACKS_PAPERS = {"reason": "NoCertificate", "message": "this agent has no certificate"}


def test_a_recipients_own_lack_of_a_certificate_is_no_donors_fault_and_uses_up_no_attempt():
    view = with_transfer(VIEW, ASSIGNMENT, "failed", **LACKS_PAPERS)
    found = abandonment(case_of(view), HEAL, ASSIGNMENT)
    assert found is not None
    assert (found.reason, found.failed) == (Reason.NOT_CERTIFIED, ())
    assert found.message == "attempt 1 failed: this agent has no certificate"
    last = HEAL.model_copy(update={"failed": ("u0/0",) * 5})
    _, decisions = decided(view.model_copy(update={"heals": (last,)}))
    assert words(decisions) == ["Wait until 1001 (NotCertified)"]
    rested = view.model_copy(update={"heals": (last.model_copy(update={"assigned_at": NOW - 1}),)})
    after, decisions = decided(rested)
    assert words(decisions)[0] == "Assign 1/0 from 2/0 step=10 attempt=2 (NotCertified)"
    assert after.heals[0].failed == last.failed


@pytest.mark.parametrize("reason", ["PeerRefused", "UntrustedPeer", "PeerLost"])
def test_a_donors_lack_counts_against_the_donor(reason):
    view = with_transfer(VIEW, ASSIGNMENT, "failed", reason=reason, message="NoCertificate: it has none")
    found = abandonment(case_of(view), HEAL, ASSIGNMENT)
    assert found is not None
    assert (found.reason, found.failed) == (Reason.TRANSFER_FAILED, ("u0/0",))


@pytest.mark.parametrize(
    "before", [replaced("1/0"), with_transfer(VIEW, ASSIGNMENT, "failed", **LACKS_PAPERS)], ids=["the first", "a later"]
)
def test_whoever_says_that_it_has_no_certificate_is_assigned_to_once_it_has_one(before):
    view, decisions = decided(with_report(before, RECIPIENT, **UNCERTIFIED))
    assert isinstance(decisions[-1], Wait)
    assert (decisions[-1].reason, decisions[-1].until) == (Reason.NOT_CERTIFIED, None)
    assert decisions[-1].message == "1/0 waits for its agent's certificate: without one nothing is sent to it"
    certified = with_report(view, RECIPIENT, flaws=())
    later = certified.model_copy(update={"heard": tuple(h.model_copy(update={"at": NOW + 2}) for h in certified.heard)})
    assert words(decided(later, NOW + 2)[1])[0].startswith("Assign 1/0 from 0/0,2/0 step=10")


def test_where_nobody_needs_a_certificate_none_is_waited_for():
    _, decisions = decided(with_policy(with_report(replaced("1/0"), RECIPIENT, **UNCERTIFIED), channel="gloo"))
    assert words(decisions)[1] == "Assign 1/0 from 0/0,2/0 step=10 attempt=1 (StateMissing)"


def test_a_recipient_that_nobody_can_name_is_not_assigned():
    gone = without_pod(VIEW, RECIPIENT)
    assert isinstance(plan_assignment(case_of(gone), HEAL, None), Wait)


@pytest.mark.parametrize(
    ("view", "attempt"),
    [
        pytest.param(replaced("1/0"), 1, id="none was ever seen"),
        pytest.param(VIEW, 2, id="a heal has one"),
        pytest.param(with_report(VIEW, m("2/0"), attempt_seen=40), 41, id="an agent has seen a higher one"),
        pytest.param(with_transfer(VIEW, ASSIGNMENT, "failed", attempt=50), 51, id="a transfer had a higher one"),
        pytest.param(
            VIEW.model_copy(
                update={"heals": (*VIEW.heals, HEAL.model_copy(update={"name": "old", "concluded_at": 1.0}))}
            ),
            2,
            id="a concluded heal counts too",
        ),
    ],
)
def test_an_attempt_is_higher_than_any_that_was_ever_seen(view, attempt):
    assert next_attempt(at(view, NOW)) == attempt


def test_a_heal_is_named_by_pod_agent_and_request():
    report = VIEW.heard[0].report
    other = report.trainer.model_copy(update={"request": 99})
    names = {
        heal_name(each)
        for each in (
            report,
            report.model_copy(update={"pod_uid": "x"}),
            report.model_copy(update={"agent": "x"}),
            report.model_copy(update={"trainer": other}),
        )
    }
    assert len(names) == 4
    assert heal_name(report) == heal_name(report.model_copy(update={"sequence": 99}))


def test_the_recipient_is_named_as_its_agent_listens():
    assert ASSIGNMENT.recipient == peer_of(VIEW, "1/0")


def test_an_assignment_survives_a_heal_that_lost_its_record():
    bare = HealRecord.model_validate(HEAL.model_dump() | {"assignment": None, "tries": 0, "failed": ()})
    plan = plan_assignment(case_of(VIEW), bare, None)
    assert isinstance(plan, Assign)
    assert plan.assignment.attempt > ASSIGNMENT.attempt
