"""That members which were alike hold different bytes is told before a loss; nobody is believed for being ahead."""

import pytest

from builders_core import (
    NOW,
    a_generation,
    a_job,
    begun,
    decided,
    digest_of,
    ended,
    held_for,
    holding,
    m,
    report_of,
    with_crash,
    with_followers,
    with_new_pod,
    with_policy,
    with_report,
    with_trainer,
    words,
)
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import Generation
from checkpointheal_operator.core.decisions import Assign, held_by
from checkpointheal_operator.core.findings import Finding, findings
from checkpointheal_operator.core.heal_record import Remembered
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.reasons import Reason, Rung
from checkpointheal_operator.core.status import job_conditions
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.local.unprotected import Unprotected
from simulation import Simulation

FIRST, SECOND, THIRD = m("0/0"), m("1/0"), m("2/0")


def alike(replicas: int = 2, **policy: object) -> JobView:
    """All train, and were alike, as the records say."""
    view = a_job(replicas, **policy)
    return view.model_copy(update={"epoch": view.epoch.model_copy(update={"alike": (0,)})})


def wrong(member: MemberId, step: int, **changes: object) -> Generation:
    return a_generation(member, step, **{"state_digest": digest_of(0, step, f"of {member}")} | changes)


def damaged(view: JobView, *members: MemberId) -> JobView:
    """Those have each their own bytes of both steps that all hold."""
    for each in members:
        view = holding(view, each, wrong(each, 10), wrong(each, 9))
    return view


def told(view: JobView) -> list[Finding]:
    return [each for each in findings(at(view, NOW)) if each.reason == Reason.MEMBERS_DISAGREE]


# Before a loss.


@pytest.mark.parametrize(
    ("view", "is_decided"),
    [
        pytest.param(damaged(alike(), SECOND), False, id="two"),
        pytest.param(damaged(alike(3), *map(m, ("0/0", "1/0", "2/0"))), False, id="three, each by itself"),
        pytest.param(damaged(alike(3), SECOND), True, id="one of three, who would be outvoted"),
        pytest.param(
            holding(damaged(alike(), SECOND), FIRST, a_generation(FIRST, 11), a_generation(FIRST, 10)),
            False,
            id="one is ahead",
        ),
        pytest.param(
            holding(alike(), SECOND, a_generation(SECOND, 10, schema_digest="6" * 32)),
            False,
            id="it has grown another form",
        ),
    ],
)
def test_that_they_disagree_is_told_before_anybody_is_lost(view: JobView, is_decided: bool):
    (found,) = told(view)
    assert found.member == FIRST
    assert ("at step 10" in found.message, "private=" in found.message) == (True, True)
    conditions = {each.type: (each.status, each.reason) for each in job_conditions(view, NOW)}
    assert conditions["Degraded"] == (True, Reason.MEMBERS_DISAGREE)
    wanted = (True, Reason.ALL_WELL) if is_decided else (False, Reason.MEMBERS_DISAGREE)
    assert conditions["Protected"] == wanted, "where nothing tells who is right, a loss costs a checkpoint"
    assert words(decided(view)[1]) == ["Nothing (AllTrain)"]


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(alike(), id="they agree"),
        pytest.param(
            holding(damaged(alike(), SECOND), FIRST, a_generation(FIRST, 11), a_generation(FIRST, 12)),
            id="none in common",
        ),
        pytest.param(
            holding(alike(), SECOND, wrong(SECOND, 10, state_digest=None), a_generation(SECOND, 9)), id="one unread"
        ),
        pytest.param(
            holding(alike(), SECOND, a_generation(SECOND, 10), wrong(SECOND, 9)), id="a slot was damaged, and is past"
        ),
        pytest.param(
            holding(alike(), SECOND, wrong(SECOND, 10, epoch=0), wrong(SECOND, 9, epoch=0)), id="of an earlier epoch"
        ),
        pytest.param(with_report(damaged(alike(), SECOND), SECOND, build="other"), id="of two builds"),
        pytest.param(ended(damaged(alike(), SECOND), "1/0"), id="somebody is lost: heals tell"),
        pytest.param(with_policy(damaged(alike(), SECOND), probation_steps=0), id="the policy compares nobody"),
        pytest.param(with_trainer(damaged(alike(), SECOND), FIRST, state="done"), id="one is done, and not asked"),
        pytest.param(damaged(a_job(2), SECOND), id="they were never alike: that is told by another name"),
    ],
)
def test_nothing_is_told_of_it_where(view: JobView):
    assert told(view) == []


def test_each_coordinate_that_disagrees_is_named_once():
    view = damaged(a_job(2, ranks=2), SECOND)
    other = m("1/1")
    view = holding(view, other, *(a_generation(other, step, state_digest="e" * 32) for step in (10, 9)))
    view = view.model_copy(update={"epoch": view.epoch.model_copy(update={"alike": (0, 1)})})
    (found,) = told(view)
    assert "coordinate 0, 1" in found.message


def test_on_one_machine_it_is_a_line_once_whatever_step_it_is():
    view, telling = damaged(alike(), SECOND), Unprotected()
    later = holding(holding(view, FIRST, wrong(FIRST, 12)), SECOND, wrong(SECOND, 12))
    (line,) = telling.new(view)
    assert line.startswith("MembersDisagree: members of coordinate 0 were alike")
    assert list(telling.new(later)) == []


# A loss.


def ahead(view: JobView, *members: MemberId) -> JobView:
    """Those have committed one more step; the others crashed once their private parts of it were kept, and all wait."""
    view = ended(view, "1/0")
    for each in members:
        newest = report_of(view, each).generations[0]
        more = a_generation(each, 11) if newest == a_generation(each, 10) else wrong(each, 11)
        parts = tuple(held_for(other, 11, 10) for other in view.policy.members() if other != each)
        view = with_report(view, each, generations=(more, newest), private_held=parts)
    for each in view.policy.members():
        view = with_crash(view, each) if each not in members else view
    return with_followers(view)


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(ahead(damaged(alike(), SECOND), FIRST), id="one of two"),
        pytest.param(ahead(damaged(alike(), SECOND), SECOND), id="the damaged one of two"),
        pytest.param(ahead(damaged(alike(3), FIRST, SECOND, THIRD), FIRST), id="one of three that each have their own"),
    ],
)
def test_who_is_ahead_is_not_believed_where_as_many_contradict_it_beside_that_step(view: JobView):
    decision = begun(view)
    assert (decision.order.rung, decision.reason) == (Rung.CHECKPOINT, Reason.NO_ELIGIBLE_DONOR)
    assert "its members hold different bytes" in decision.message
    assert not [each for each in decided(view)[1] if isinstance(each, Assign)]


def test_a_job_that_is_held_for_it_says_that_deleting_who_is_wrong_helps():
    view = with_policy(ahead(damaged(alike(), SECOND), FIRST), fallback="Hold")
    held = held_by(decided(view)[1][-1])
    assert held.endswith("where members hold different bytes, delete the pods of those that are wrong")
    without = with_followers(with_new_pod(view, SECOND))
    assert [each for each in decided(without)[1] if isinstance(each, Assign)], "then the other is believed"


def test_who_is_ahead_is_not_believed_where_most_have_other_bytes_and_those_go_on():
    view = ahead(damaged(alike(3), FIRST), FIRST)
    given = next(each for each in decided(view)[1] if isinstance(each, Assign))
    assert (given.assignment.recipient.member, given.assignment.step) == (FIRST, 10)
    assert given.assignment.state_digest == digest_of(0, 10)


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(ahead(alike(), FIRST), id="they agree beside it"),
        pytest.param(ahead(damaged(alike(3), SECOND), FIRST, THIRD), id="those who agree are more"),
        pytest.param(ahead(damaged(alike(3), SECOND), FIRST), id="a third one stands beside who is ahead"),
        pytest.param(with_policy(ahead(damaged(alike(), SECOND), FIRST), probation_steps=0), id="nobody is compared"),
        pytest.param(
            with_report(ahead(damaged(alike(), SECOND), FIRST), SECOND, build="other"), id="they are of two builds"
        ),
        pytest.param(
            with_followers(with_new_pod(ended(damaged(alike(), SECOND), "1/0"), SECOND)),
            id="the other's memory is gone",
        ),
    ],
)
def test_who_is_ahead_is_believed_where(view: JobView):
    given = [each for each in decided(view)[1] if isinstance(each, Assign)]
    assert {each.assignment.state_digest for each in given} <= {digest_of(0, 11), digest_of(0, 10)}
    assert given


def test_where_a_lost_one_had_the_bytes_of_who_is_ahead_that_one_is_believed():
    last = a_generation(SECOND, 10).identity
    witness = Remembered(member=SECOND, pod_uid="lost before", build="torch", identity=last)
    view = ahead(damaged(alike(), SECOND), FIRST).model_copy(update={"remembered": (witness,)})
    (given,) = (each for each in decided(view)[1] if isinstance(each, Assign))
    assert given.assignment.state_digest == digest_of(0, 11)


def test_nor_is_who_alone_still_holds_an_earlier_step():
    view = ahead(damaged(alike(), SECOND), FIRST)
    assert begun(holding(view, FIRST, wrong(FIRST, 10))).order.rung == Rung.CHECKPOINT


def test_a_part_that_is_each_ranks_own_from_the_second_step_on_overwrites_nobody():
    """A loss scaler skips the first update, so all are alike at first."""
    job = Simulation(2)
    job.check_words = lambda *_: None
    job.go_on()
    job.train_to(1)
    job.apart = True
    job.train_to(20)
    (found,) = (each for each in job_conditions(job.view, job.now) if each.type == "Degraded")
    assert (found.status, found.reason) == (True, Reason.MEMBERS_DISAGREE)
    job.lose_before_commit(SECOND)
    job.go_on()
    assert not [each for each in job.decisions if isinstance(each, Assign)]
    assert (job.view.epoch.rung, job.view.epoch.reason) == (Rung.CHECKPOINT, Reason.NO_ELIGIBLE_DONOR)
