"""Who was lost for too long is left out, where the policy lets the others go on; who is back comes in at a commit."""

import pytest

from builders_absence import LATER, WAIT, a_lossy_job, a_short_job, all_left, back, heard_at
from builders_core import (
    BEGAN,
    NOW,
    a_generation,
    a_job,
    decided,
    ended,
    held_for,
    m,
    report_of,
    with_followers,
    with_pod,
    with_policy,
    with_report,
    with_return,
    with_trainer,
    without_pod,
    words,
)
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import Flaw
from checkpointheal_operator.core.absence import may_go_on_at, returned, without_the_missing
from checkpointheal_operator.core.decide import decide
from checkpointheal_operator.core.decisions import BeginEpoch, EndEpoch, LeaveEpoch, Nothing, OpenHeal, Restart, Wait
from checkpointheal_operator.core.epoch_record import LeftOut
from checkpointheal_operator.core.findings import findings
from checkpointheal_operator.core.heal_record import Remembered
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.orders import orders
from checkpointheal_operator.core.reasons import Cause, Reason, Rung
from checkpointheal_operator.core.records import advance
from checkpointheal_operator.core.restore import RestorePoint, restore_point
from checkpointheal_operator.core.view import JobView


def begun(view: JobView, now: float = LATER) -> BeginEpoch:
    return next(each for each in decided(view, now)[1] if isinstance(each, BeginEpoch))


def test_nobody_goes_on_without_a_member_unless_the_policy_says_so() -> None:
    view = a_lossy_job("1/0", minimum=None)
    assert isinstance(decide(view, LATER + 1000), Wait)
    assert may_go_on_at(at(view, LATER)) is None


def test_a_job_that_may_not_lack_a_replica_waits_for_all() -> None:
    assert without_the_missing(at(a_lossy_job("1/0", minimum=3), LATER)) is None


def test_who_was_lost_is_waited_for_first_and_the_wait_has_an_end() -> None:
    decision = decide(heard_at(a_lossy_job("1/0"), LATER - 0.5), LATER - 0.5)
    assert isinstance(decision, Wait)
    assert (decision.reason, decision.until) == (Reason.MEMBER_MISSING, LATER)


def test_nobody_is_left_out_who_may_still_be_leaving_its_epoch() -> None:
    assert may_go_on_at(at(with_policy(a_lossy_job("1/0"), epoch_end_deadline=2 * WAIT), LATER)) == LATER + WAIT


def test_the_others_go_on_at_the_step_of_their_own_private_parts() -> None:
    decision = begun(a_lossy_job("1/0"))
    assert [str(each.member) for each in decision.members] == ["0/0", "2/0"]
    assert decision.left_out == (LeftOut(member=m("1/0"), since=10, epoch=2),)
    assert (decision.order.step, decision.order.rung) == (10, Rung.OWN_MEMORY)
    assert decision.reason == Reason.GOES_ON_WITHOUT
    assert decision.message == "2 of 3 replicas go on at step 10 without 1/0, which may come in later"
    assert str(decision) == "BeginEpoch 2 step=10 0/0:OwnMemory 2/0:OwnMemory without=1/0 (GoesOnWithout)"


def test_what_else_there_is_to_say_of_the_step_is_said_as_if_nobody_were_missing() -> None:
    ahead = (a_generation(m("0/0"), 11), a_generation(m("0/0"), 10))
    decision = begun(with_report(a_lossy_job("1/0"), m("0/0"), generations=ahead))
    assert decision.message == (
        "2 of 3 replicas go on at step 10 without 1/0, which may come in later; "
        "not step 11: the private part of 2/0 at step 11 is nowhere"
    )


def test_a_lost_private_part_of_who_is_left_out_forbids_no_step() -> None:
    view = a_lossy_job("1/0")
    for member in ("0/0", "2/0"):
        view = with_report(view, m(member), private_held=())
    assert isinstance(restore_point(at(view, LATER)), RestorePoint)
    assert restore_point(at(view, LATER)).step is None
    assert begun(view).order.step == 10


@pytest.mark.parametrize(("lost", "minimum"), [(("1/0", "2/0"), 2), (("0/0", "1/0", "2/0"), 1)])
def test_fewer_than_the_least_never_go_on(lost: tuple[str, ...], minimum: int) -> None:
    assert isinstance(decide(a_lossy_job(*lost, minimum=minimum), LATER), Wait)


def test_two_of_three_may_be_left_out_where_one_is_enough() -> None:
    decision = begun(a_lossy_job("1/0", "2/0"))
    assert [str(each.member) for each in decision.members] == ["0/0"]


def test_a_replica_goes_as_a_whole_for_no_coordinate_may_be_lacking() -> None:
    decision = begun(a_lossy_job("1/1", ranks=2))
    assert [str(each.member) for each in decision.left_out] == ["1/0", "1/1"]
    assert [str(each.member) for each in decision.members] == ["0/0", "0/1", "2/0", "2/1"]


def test_a_trainer_of_level_1_or_an_older_build_is_never_left_with_fewer() -> None:
    view = with_trainer(a_lossy_job("1/0"), m("0/0"), goes_on=False)
    assert isinstance(decide(view, LATER), Wait)
    told = {each.member: each for each in findings(at(view, LATER)) if each.reason == Reason.NEEDS_EVERYONE}
    assert list(told) == [m("0/0")]


def test_who_is_done_is_missed_by_nobody() -> None:
    view = with_trainer(a_lossy_job("1/0"), m("0/0"), state="done")
    assert may_go_on_at(at(view, LATER)) is None


def test_a_leader_that_has_just_begun_hears_its_agents_first() -> None:
    view = a_lossy_job("1/0").model_copy(update={"leader_since": LATER})
    decision = decide(view, LATER)
    assert isinstance(decision, Wait)
    assert decision.until == LATER + view.policy.report_deadline


def test_where_memory_has_no_step_for_them_all_are_waited_for() -> None:
    view = a_lossy_job("1/0")
    for member in ("0/0", "2/0"):
        view = with_report(view, m(member), generations=())
    assert isinstance(decide(view, LATER), Wait)


def test_while_a_reading_is_under_way_they_wait_for_it() -> None:
    view = with_policy(a_lossy_job("1/0"), transfer_seconds_at_least=2 * WAIT)
    for member in ("0/0", "2/0"):
        view = with_report(view, m(member), generations=(a_generation(m(member), 10, state_digest=None),))
    decision = decide(view, LATER)
    assert isinstance(decision, Wait)
    assert decision.reason == Reason.DIGEST_PENDING


def test_orders_of_a_short_epoch_say_who_is_left_out_and_number_the_others() -> None:
    standing = orders(a_short_job("1/0"))
    assert [standing[m(each)].epoch.place for each in ("0/0", "2/0")] == [0, 1]
    assert all(standing[m(each)].epoch.left_out == (m("1/0"),) for each in ("0/0", "2/0"))
    assert all(standing[m(each)].epoch.members == 2 for each in ("0/0", "2/0"))
    assert standing[m("1/0")].epoch.reason == Reason.NOT_A_MEMBER


def test_who_is_left_out_is_the_last_to_keep_a_private_part() -> None:
    view = with_policy(a_short_job("1/0", replicas=4), buddies=2)
    view = view.model_copy(update={"pods": (*view.pods, a_job(4).pods[1])})
    buddies = orders(view)[m("0/0")].buddies
    assert [str(each.member) for each in buddies] == ["2/0", "3/0"]


def test_a_trainer_that_is_to_be_killed_is_not_forgotten_because_it_is_left_out() -> None:
    view = a_lossy_job("1/0")
    view = view.model_copy(update={"epoch": view.epoch.model_copy(update={"restarts": ("t1/0",)})})
    assert decided(view, LATER)[0].epoch.restarts == ("t1/0",)


def test_a_short_epoch_is_left_alone_while_nobody_is_back() -> None:
    assert decide(a_short_job("1/0"), LATER) == Nothing(reason=Reason.ALL_TRAIN, message="epoch 2 is under way")


def test_people_are_told_who_is_left_out_and_not_that_nothing_begins_without_it() -> None:
    view = a_short_job("1/0")
    found = [each for each in findings(at(view, LATER)) if each.member == m("1/0")]
    assert [each.reason for each in found] == [Reason.LEFT_OUT]
    assert found[0].message == "epoch 2 is without 1/0, from step 10 on: it comes in once it waits"
    again = [each.reason for each in findings(at(back(view, "1/0"), LATER)) if each.member == m("1/0")]
    assert again == [Reason.LEFT_OUT]


def test_who_is_back_has_the_others_leave_at_a_commit_and_nobody_is_lost() -> None:
    view = back(a_short_job("1/0"), "1/0")
    decision = decide(view, LATER)
    assert isinstance(decision, LeaveEpoch)
    assert (decision.back, decision.reason) == ((m("1/0"),), Reason.MEMBER_RETURNS)
    assert str(decision) == "LeaveEpoch 2 (MemberReturns)"
    after = advance(view, decision, LATER)
    assert after.epoch.open
    assert after == advance(after, decision, LATER)
    assert all(orders(after)[m(each)].epoch.leave for each in ("0/0", "2/0"))
    assert not orders(after)[m("0/0")].epoch.over
    assert isinstance(decide(after, LATER), Nothing)


def standing_still(view: JobView, member: str) -> JobView:
    return with_trainer(back(view, member), m(member), state="stopped")


def test_who_is_left_out_and_stands_still_is_killed_after_its_grace_and_the_others_train_on() -> None:
    view = standing_still(a_short_job("1/0"), "1/0")
    heard = next(each for each in view.heard if each.report.trainer.state == "stopped")
    due = heard.trainer_since + view.policy.stopped_grace
    early = decide(view, due - 0.5)
    assert isinstance(early, Wait)
    assert (early.until, early.reason) == (due, Reason.STANDS_STILL)

    decision = decide(view, due)
    assert isinstance(decision, Restart)
    stopped = heard.report.trainer.incarnation
    assert (decision.restart_trainer, decision.reason) == ((stopped,), Reason.TRAINER_STOPPED)
    assert str(decision) == f"Restart {stopped} in epoch 2 (TrainerStopped)"
    after = advance(view, decision, due)
    assert after.epoch.open
    assert after == advance(after, decision, due)
    assert orders(after)[m("1/0")].restart_trainer == stopped
    assert not any(orders(after)[m(each)].epoch.over for each in ("0/0", "2/0"))
    assert decide(after, due) == Nothing(reason=Reason.ALL_TRAIN, message="epoch 2 is under way")


def test_who_is_lost_comes_before_who_stands_still_aside() -> None:
    view = with_trainer(standing_still(a_short_job("1/0"), "1/0"), m("0/0"), state="absent")
    assert isinstance(decide(view, LATER + 100), EndEpoch)


def test_an_old_word_to_leave_changes_no_later_epoch() -> None:
    view = a_short_job("1/0")
    late = LeaveEpoch(epoch=1, back=(m("1/0"),), reason=Reason.MEMBER_RETURNS, message="why")
    assert advance(view, late, LATER) == view


def test_once_they_have_left_the_epoch_is_over_and_the_one_that_is_back_is_healed() -> None:
    view, _ = decided(back(a_short_job("1/0"), "1/0"), LATER)
    view, made = decided(all_left(view), LATER)
    assert isinstance(made[0], EndEpoch)
    assert (made[0].lost, made[0].reason) == ((), Reason.MEMBER_RETURNS)
    opened = next(each for each in made if isinstance(each, OpenHeal))
    assert opened.cause == Cause.RETURNED
    assert words(made)[2].startswith("Assign 1/0 from 0/0,2/0 step=13")


def test_its_private_part_begins_where_it_comes_in_and_what_it_kept_is_of_another_past() -> None:
    view, _ = decided(back(a_short_job("1/0"), "1/0"), LATER)
    view, _ = decided(all_left(view), LATER)
    got = a_generation(m("1/0"), 13, private=False, epoch=2)
    decision = begun(with_report(view, m("1/0"), generations=(got,)))
    assert decision.left_out == ()
    enrolled = {str(each.member): each for each in decision.members}
    assert enrolled["1/0"].private_begins
    assert enrolled["1/0"].missed_since == 2
    assert not enrolled["0/0"].private_begins
    assert decision.message.endswith("the private part of 1/0 begins there: it has none of that step")


def a_return(*kept: int, own: tuple[int, ...] = (), able: bool = True, allowed: bool = True) -> BeginEpoch:
    """The others have kept these parts of the one that comes in at step 13, from step 10 on away; `own`: it, too."""
    view, _ = decided(back(a_short_job("1/0"), "1/0"), LATER)
    view, _ = decided(all_left(with_policy(view, private_behind="Allow" if allowed else "Refuse")), LATER)
    for member in (m("0/0"), m("2/0")):
        held = report_of(view, member).private_held
        view = with_report(view, member, private_held=(*held, held_for(m("1/0"), *kept)))
    got = a_generation(m("1/0"), 13, private=False, epoch=2)
    return begun(with_report(view, m("1/0"), generations=(got,), behind=able, private_own=own))


def test_where_an_earlier_part_may_stand_in_it_comes_in_with_the_one_of_when_it_went() -> None:
    decision = a_return(8, 9, 10, 12)
    came = next(each for each in decision.members if each.member == m("1/0"))
    assert (came.private_step, came.private_begins, came.private_from) == (10, False, ("u0/0", "u2/0"))
    assert decision.reason == Reason.PRIVATE_STATE_BEHIND
    assert "an earlier private part of 1/0 at step 10" in decision.message


def test_a_part_in_its_own_arena_of_steps_that_the_others_made_without_it_never_stands_in() -> None:
    came = next(each for each in a_return(8, own=(9, 10, 11, 13)).members if each.member == m("1/0"))
    assert (came.private_step, came.private_begins, came.private_from) == (10, False, ())


@pytest.mark.parametrize(
    "decision",
    [
        pytest.param(a_return(9, 10, allowed=False), id="the policy does not allow it"),
        pytest.param(a_return(9, 10, able=False), id="its trainer cannot"),
        pytest.param(a_return(), id="nobody keeps one"),
        pytest.param(a_return(12), id="it is of another past"),
    ],
)
def test_else_its_private_part_begins_anew(decision: BeginEpoch) -> None:
    came = next(each for each in decision.members if each.member == m("1/0"))
    assert (came.private_step, came.private_begins) == (None, True)
    assert decision.reason == Reason.EVERYONE_WAITS


def test_one_that_is_lost_before_they_have_left_is_lost_as_ever() -> None:
    view, _ = decided(back(a_short_job("1/0"), "1/0"), LATER)
    decision = decide(without_pod(heard_at(view, LATER - 100), m("2/0")), LATER)
    assert isinstance(decision, EndEpoch)
    assert (decision.lost, decision.reason) == ((m("2/0"),), Reason.POD_LOST)


def test_the_others_stop_for_no_replica_that_is_not_whole() -> None:
    view = back(a_short_job("1/0", "1/1", ranks=2), "1/0")
    assert isinstance(decide(view, LATER), Nothing)
    assert returned(at(back(view, "1/1"), LATER)) == (m("1/0"), m("1/1"))


def test_the_others_stop_for_nobody_whose_agent_has_no_certificate() -> None:
    view = back(a_short_job("1/0"), "1/0")
    view = with_report(view, m("1/0"), flaws=(Flaw(reason="NoCertificate"),))
    assert isinstance(decide(view, LATER), Nothing)
    assert isinstance(decide(with_policy(view, channel="gloo"), LATER), LeaveEpoch)


def test_one_of_two_that_were_left_out_comes_in_without_the_other() -> None:
    view, _ = decided(back(a_short_job("1/0", "2/0"), "1/0"), LATER)
    view, _ = decided(all_left(view), LATER)
    got = a_generation(m("1/0"), 13, private=False, epoch=2)
    decision = begun(with_report(view, m("1/0"), generations=(got,)))
    assert [str(each.member) for each in decision.members] == ["0/0", "1/0"]
    assert decision.left_out == (LeftOut(member=m("2/0"), since=10, epoch=2),)


def test_who_was_left_out_already_is_not_waited_for_again() -> None:
    view, _ = decided(back(a_short_job("1/0"), "1/0"), LATER)
    view, _ = decided(all_left(view), LATER)
    decision = begun(without_pod(view, m("1/0")), LATER + 1)
    assert decision.left_out == (LeftOut(member=m("1/0"), since=10, epoch=2),)
    assert decision.order.step == 13


def test_a_second_loss_in_a_short_epoch_is_waited_for_and_then_left_out_too() -> None:
    view = without_pod(heard_at(a_short_job("1/0"), LATER - 100), m("2/0"))
    view = advance(view, decide(view, LATER), LATER)
    view = with_trainer(view, m("0/0"), state="waiting", epoch=0, request=9)
    soon = decide(heard_at(view, LATER), LATER)
    assert isinstance(soon, Wait)
    assert soon.until == LATER + WAIT
    decision = begun(heard_at(view, LATER + WAIT), LATER + WAIT)
    assert [str(each.member) for each in decision.members] == ["0/0"]
    assert [(str(each.member), each.since, each.epoch) for each in decision.left_out] == [
        ("1/0", 10, 2),
        ("2/0", 13, 3),
    ]


def test_where_they_go_back_behind_the_step_at_which_it_was_left_out_that_step_is_where_it_was() -> None:
    view = a_short_job("1/0")
    older = a_generation(m("0/0"), 9, epoch=1), a_generation(m("2/0"), 9, epoch=1)
    view = ended(view)
    for held in older:
        member = m("0/0") if held is older[0] else m("2/0")
        view = with_report(view, member, generations=(held,))
        view = with_trainer(view, member, state="waiting", epoch=0, request=9)
    assert begun(view).left_out == (LeftOut(member=m("1/0"), since=9, epoch=2),)


def test_what_a_lost_one_held_of_steps_that_the_others_made_without_it_is_no_witness() -> None:
    view = ended(a_short_job("1/0"), "1/0")
    other = a_generation(m("1/0"), 13, state_digest="e" * 32).identity
    seen = tuple(Remembered(member=m("1/0"), pod_uid=f"x{n}", build="torch", identity=other) for n in range(3))
    view = all_left(view.model_copy(update={"remembered": seen}))
    assert begun(view).order.step == 13


def test_what_a_member_kept_from_before_it_was_left_out_is_never_restored() -> None:
    view = back(a_short_job("1/0"), "1/0")
    own = (
        a_generation(m("1/0"), 12, epoch=1),
        a_generation(m("1/0"), 10, epoch=1),
        a_generation(m("1/0"), 9, epoch=None),
    )
    view = with_report(view, m("1/0"), generations=own)
    moment = at(view, LATER)
    assert sorted(moment.generations(report_of(view, m("1/0")))) == [9, 10]


def test_one_that_is_back_when_all_others_are_done_ends_their_epoch() -> None:
    view, _ = decided(back(a_short_job("1/0"), "1/0"), LATER)
    for member in ("0/0", "2/0"):
        view = with_trainer(view, m(member), state="done")
    decision = decide(view, LATER)
    assert isinstance(decision, EndEpoch)
    assert decision.reason == Reason.MEMBER_RETURNS


def test_one_that_was_never_in_the_job_ends_a_short_epoch_as_it_ends_any() -> None:
    view = with_policy(a_short_job("1/0"), replicas=4)
    joined = a_job(4)
    view = view.model_copy(update={"pods": (*view.pods, joined.pods[3]), "heard": (*view.heard, joined.heard[3])})
    view = heard_at(with_trainer(view, MemberId(replica=3), state="waiting", epoch=0), LATER)
    decision = decide(view, LATER)
    assert isinstance(decision, EndEpoch)
    assert decision.reason == Reason.MEMBERSHIP_CHANGED


def test_a_pod_that_ends_while_others_go_on_without_it_is_left_out() -> None:
    view = with_pod(a_lossy_job("1/0"), m("2/0"), terminating=True)
    assert [str(each.member) for each in begun(view).members] == ["0/0"]


def test_a_survivor_that_has_not_left_yet_is_waited_for() -> None:
    view = ended(a_short_job("1/0"))
    view = with_return(view, m("0/0"))
    decision = decide(heard_at(view, NOW), NOW)
    assert isinstance(decision, Wait)
    assert decision.reason == Reason.STILL_TRAINING
    assert with_followers(view).epoch.began_at != BEGAN
