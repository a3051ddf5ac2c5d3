"""The order of things and the ladder: one next action for every view."""

import itertools
import random
import sys
from collections.abc import Callable
from functools import partial

import pytest

from builders_core import (
    BEGAN,
    NOW,
    a_generation,
    a_job,
    a_new_job,
    a_pod,
    decided,
    digest_of,
    ended,
    held_for,
    m,
    replaced,
    with_crash,
    with_followers,
    with_heard,
    with_new_pod,
    with_pod,
    with_policy,
    with_received,
    with_report,
    with_return,
    with_trainer,
    with_transfer,
    without_pod,
    words,
)
from checkpointheal.contract.report import TrainerExit
from checkpointheal_operator.core.decide import decide
from checkpointheal_operator.core.decisions import Assign, BeginEpoch, Conclude, EndEpoch, Nothing, OpenHeal, Wait
from checkpointheal_operator.core.facts import Trouble
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.orders import orders
from checkpointheal_operator.core.reasons import Reason, Rung
from checkpointheal_operator.core.records import advance
from checkpointheal_operator.core.verdict import conclude
from checkpointheal_operator.core.view import JobView

MEMBER = m("1/0")
ALL_WAIT = with_followers(ended(a_job(), "1/0"))
MADE = tuple(pod.but(is_made=True) for pod in a_job().pods)
COPIED = a_job().but(pods=(*MADE, a_pod(MEMBER, uid="copy", name="copy", seen_since=NOW)))
BEGIN_FROM_MEMORY = "BeginEpoch 2 step=10 0/0:OwnMemory 1/0:OwnMemory 2/0:OwnMemory (EveryoneWaits)"


def answered(view: JobView) -> JobView:
    """The trainers have loaded what the open epoch gave them."""
    for each in view.epoch.members:
        view = with_trainer(view, each.member, state="training", epoch=view.epoch.number)
        view = with_report(view, each.member, epoch_seen=view.epoch.number)
    return view


@pytest.mark.parametrize(
    ("view", "told"),
    [
        pytest.param(a_job(), ["Nothing (AllTrain)"], id="all train"),
        pytest.param(
            with_heard(a_job(), MEMBER, at=0.0), ["Nothing (AllTrain)"], id="an agent is silent but training goes on"
        ),
        pytest.param(COPIED, ["Nothing (AllTrain)"], id="somebody copied a pod"),
        pytest.param(
            with_crash(a_job(), MEMBER),
            ["EndEpoch 1 (TrainerGone)", "OpenHeal 1/0 (Crashed)", "Wait until 1015 (StillTraining)"],
            id="a trainer crashed",
        ),
        pytest.param(
            without_pod(a_job(), MEMBER), ["Wait until 1006 (PodGone)"], id="a pod is gone and was just heard"
        ),
        pytest.param(
            with_trainer(with_heard(a_job(), MEMBER, trainer_since=NOW - 1), MEMBER, state="stopped"),
            ["Wait until 1004 (StandsStill)"],
            id="a trainer stands still for a moment",
        ),
        pytest.param(
            with_trainer(a_job(), MEMBER, state="stopped"),
            ["EndEpoch 1 restart=t1/0 (TrainerStopped)", "Wait until 1015 (StillTraining)"],
            id="a trainer stands still for long",
        ),
        pytest.param(
            with_trainer(a_job(), MEMBER, state="waiting"), ["Wait until 1080 (Joining)"], id="one is still loading"
        ),
        pytest.param(ALL_WAIT, [BEGIN_FROM_MEMORY, "Wait until 1180 (Joining)"], id="all wait with what they need"),
        pytest.param(
            with_crash(ALL_WAIT, MEMBER),
            ["OpenHeal 1/0 (Crashed)", BEGIN_FROM_MEMORY, "Wait until 1180 (Joining)"],
            id="one crashed and its own memory has the step",
        ),
        pytest.param(
            a_new_job(),
            ["BeginEpoch 1 no step 0/0:Fresh 1/0:Fresh 2/0:Fresh (FirstStart)", "Wait until 1180 (Joining)"],
            id="a first start",
        ),
        pytest.param(
            replaced("0/0", "1/0"),
            [
                "OpenHeal 0/0 (Replaced)",
                "OpenHeal 1/0 (Replaced)",
                "Assign 0/0 from 2/0 step=10 attempt=1 (StateMissing)",
                "Assign 1/0 from 2/0 step=10 attempt=2 (StateMissing)",
                "Wait until 1030 (Transferring)",
            ],
            id="two pods were replaced at once",
        ),
        pytest.param(
            with_policy(with_new_pod(ended(a_job(replicas=2)), m("2/0")), replicas=3),
            ["Wait until 1014 (StillTraining)"],
            id="a pod was added and the others have not ended yet",
        ),
        pytest.param(
            with_report(with_return(ended(a_job(), "0/0"), MEMBER, incarnation="t1/0"), MEMBER, generations=()),
            ["Wait until 1014 (StillTraining)"],
            id="a member lost its slots but not its life",
        ),
    ],
)
def test_the_next_actions_of_a_view(view, told):
    assert words(decided(view)[1]) == told


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        pytest.param(without_pod(ALL_WAIT, MEMBER), Reason.MEMBER_MISSING, id="no pod"),
        pytest.param(
            with_pod(without_pod(ALL_WAIT, MEMBER), m("0/0"), holds_back=True, seen_since=799.0),
            Reason.HELD_BY_ORDERED_READY,
            id="no pod before another is ready",
        ),
        pytest.param(with_pod(ALL_WAIT, MEMBER, terminating=True), Reason.DRAINING, id="its pod is being deleted"),
        pytest.param(
            with_pod(with_heard(ALL_WAIT, MEMBER, at=NOW - 60), MEMBER, terminating=True, ends_at=NOW - 60),
            Reason.HELD_BY_LOST_NODE,
            id="its node is gone, and its pod stays",
        ),
        pytest.param(
            ALL_WAIT.model_copy(update={"heard": tuple(h for h in ALL_WAIT.heard if h.report.member != MEMBER)}),
            Reason.NOT_HEARD_FROM,
            id="never heard",
        ),
        pytest.param(
            with_pod(ALL_WAIT, MEMBER, trouble=Trouble(reason=Reason.NO_NODE, message="")).model_copy(
                update={"heard": tuple(h for h in ALL_WAIT.heard if h.report.member != MEMBER)}
            ),
            Reason.NO_NODE,
            id="never heard, for it has no node",
        ),
        pytest.param(with_heard(ALL_WAIT, MEMBER, at=NOW - 6), Reason.HEARTBEAT_STALE, id="silent"),
        pytest.param(with_trainer(ALL_WAIT, MEMBER, state="starting"), Reason.NOT_WAITING, id="starting"),
        pytest.param(with_trainer(ALL_WAIT, MEMBER, state="absent"), Reason.NOT_WAITING, id="no trainer"),
        pytest.param(with_trainer(ALL_WAIT, MEMBER, state="training"), Reason.STILL_TRAINING, id="still training"),
        pytest.param(with_trainer(ALL_WAIT, MEMBER, state="stopped"), Reason.STILL_TRAINING, id="standing still"),
    ],
)
def test_nothing_begins_before_everybody_waits(view, reason):
    _, decisions = decided(view)
    assert decisions[-1].reason == reason
    assert not any(isinstance(each, BeginEpoch) for each in decisions)


def test_a_trainer_that_hangs_on_its_way_out_of_an_epoch_is_restarted():
    view = with_trainer(ended(a_job(), "1/0", ended_at=NOW - 15), m("1/0"), state="waiting")
    decision = decide(view, NOW)
    assert (decision.reason, decision.restart_trainer) == (Reason.END_OVERDUE, ("t0/0", "t2/0"))
    assert decide(view, NOW - 0.1).until == NOW


def test_a_member_that_is_done_is_not_waited_for():
    view = with_trainer(ALL_WAIT, MEMBER, state="done")
    assert "BeginEpoch 2 step=10 0/0:OwnMemory 2/0:OwnMemory (EveryoneWaits)" in words(decided(view)[1])


def test_a_pod_that_goes_once_its_member_is_done_is_not_missed():
    view = a_job()
    for member in view.policy.members():
        view = with_trainer(view, member, state="done")
    for member in view.policy.members():
        view = without_pod(view, member)
        assert decide(view, NOW + 60).reason == Reason.ALL_DONE


def test_when_all_are_done_there_is_nothing_to_do():
    view = a_job()
    for member in view.policy.members():
        view = with_pod(view, member, finished=True)
    assert words(decided(view)[1]) == ["Nothing (AllDone)"]


@pytest.mark.parametrize("open_still", [True, False])
def test_pods_that_are_cleared_away_once_all_are_done_are_no_loss(open_still):
    cleared = a_job().model_copy(update={"pods": (), "heard": (), "was_done": True})
    epoch = cleared.epoch.model_copy(update={"open": open_still})
    assert words(decided(cleared.model_copy(update={"epoch": epoch}))[1]) == ["Nothing (AllDone)"]


def test_a_job_that_is_begun_anew_after_its_end_waits_for_all_of_its_members():
    cleared = a_job().model_copy(update={"pods": (), "heard": (), "was_done": True})
    found = decided(with_new_pod(cleared, MEMBER))[1]
    assert not any(isinstance(each, BeginEpoch) for each in found)
    assert found[-1].reason == "MemberMissing"


def all_done() -> JobView:
    view = a_job()
    for member in view.policy.members():
        view = with_trainer(view, member, state="done")
    return view


def test_a_run_whose_last_words_are_still_known_does_not_keep_the_next_one_waiting():
    """Its leader heard that they were done, and leads still."""
    view = all_done()
    for member in view.policy.members():
        view = with_new_pod(view, member)
    after, found = decided(view)
    assert found[-1].reason == Reason.JOINING
    assert {each.pod_uid for each in after.epoch.members} == {"v0/0", "v1/0", "v2/0"}
    assert {str(member): order.epoch.over for member, order in orders(after).items() if order.epoch} == {
        "0/0": False,
        "1/0": False,
        "2/0": False,
    }


def test_of_a_run_that_is_begun_anew_no_last_word_of_the_one_before_excuses_who_is_not_there_yet():
    view = all_done()
    for member in view.policy.members():
        view = without_pod(view, member)
    found = decided(with_new_pod(view, MEMBER))[1]
    assert not any(isinstance(each, BeginEpoch) for each in found)
    assert found[-1].reason == "MemberMissing"


def test_who_comes_back_once_it_was_done_lets_the_others_do_their_last_steps_and_goes_on_then():
    view = with_new_pod(with_trainer(a_job(), MEMBER, state="done"), MEMBER)
    assert decide(view, NOW).reason == Reason.ALL_TRAIN
    for each in ("0/0", "2/0"):
        view = with_trainer(view, m(each), state="done")
    ending = decide(view, NOW)
    assert (type(ending), ending.reason, ending.lost) == (EndEpoch, Reason.POD_REPLACED, (MEMBER,))
    later, _ = decided(view)
    assert [heal.assignment.step for heal in later.heals if heal.assignment] == [10]


@pytest.mark.parametrize("how", [{"finished": True}, {"terminating": True}])
def test_a_pod_that_has_done_its_part_or_goes_is_no_new_run(how: dict[str, bool]):
    view = all_done()
    for member in view.policy.members():
        view = without_pod(view, member)
    assert isinstance(decide(with_pod(with_new_pod(view, MEMBER), MEMBER, **how), NOW), Nothing)


def test_a_trainer_that_still_loads_the_answer_of_an_epoch_that_is_over_keeps_out_of_the_next():
    loading = with_trainer(
        with_report(ALL_WAIT, MEMBER, epoch_seen=1), MEMBER, state="waiting", incarnation="t1/0", request=1
    )
    assert words(decided(loading)[1]) == ["Wait until 1080 (StillLoading)"]
    unanswered = with_report(loading, MEMBER, epoch_seen=0)
    assert BEGIN_FROM_MEMORY in words(decided(unanswered)[1])
    asked_again = with_trainer(loading, MEMBER, request=2)
    assert BEGIN_FROM_MEMORY in words(decided(asked_again)[1])
    late = loading.model_copy(update={"heard": tuple(h.model_copy(update={"at": 1080.0}) for h in loading.heard)})
    assert BEGIN_FROM_MEMORY in words(decided(late, 1080.0)[1])


def test_a_stopped_trainer_between_two_epochs_is_killed_once_its_grace_is_over():
    view = with_trainer(with_heard(ALL_WAIT, MEMBER, trainer_since=NOW - 2), MEMBER, state="stopped")
    assert words(decided(view)[1]) == ["Wait until 1003 (StillTraining)"]
    view = view.model_copy(update={"heard": tuple(h.model_copy(update={"at": NOW + 3}) for h in view.heard)})
    _, decisions = decided(view, NOW + 3)
    assert words(decisions) == ["EndEpoch 1 restart=t1/0' (TrainerStopped)", "Wait (StillTraining)"]


def test_one_member_after_the_other_is_lost_in_one_ending():
    view = with_crash(with_new_pod(a_job(), m("2/0")), m("0/0"))
    decision = decide(view, NOW)
    assert isinstance(decision, EndEpoch)
    assert decision.lost == (m("0/0"), m("2/0"))


def test_the_whole_of_a_heal_from_a_peer():
    view, decisions = decided(replaced("1/0"))
    assert words(decisions)[:2] == [
        "OpenHeal 1/0 (Replaced)",
        "Assign 1/0 from 0/0,2/0 step=10 attempt=1 (StateMissing)",
    ]
    assert isinstance(decisions[1], Assign)
    view, decisions = decided(with_received(view, decisions[1].assignment))
    assert words(decisions)[0] == "BeginEpoch 2 step=10 0/0:OwnMemory 1/0:Peer 2/0:OwnMemory (EveryoneWaits)"
    assert isinstance(decisions[0], BeginEpoch)
    assert decisions[0].order.rung == Rung.PEER
    assert decisions[0].members[1].private_from == ("u0/0", "u2/0")
    view, decisions = decided(answered(view))
    assert words(decisions) == ["Conclude 1/0 Healed=True (Healed)", "Nothing (AllTrain)"]
    assert isinstance(decisions[0], Conclude)
    assert decisions[0].transfer is not None
    assert decisions[0].transfer.bytes == 1000
    assert view.heals[0].rung == Rung.PEER


@pytest.mark.parametrize(
    ("change", "concluded"),
    [
        pytest.param(
            lambda view: with_trainer(view, MEMBER, epoch=2, state="waiting", applied_digest="a" * 32),
            "Conclude 1/0 Healed=True (Healed)",
            id="it applied its answer",
        ),
        pytest.param(
            lambda view: with_trainer(view, MEMBER, epoch=2, state="training"),
            "Conclude 1/0 Healed=True (Healed)",
            id="it trains",
        ),
        pytest.param(lambda view: with_trainer(view, MEMBER, epoch=2, state="waiting"), None, id="it is still loading"),
        pytest.param(
            lambda view: with_new_pod(view, MEMBER),
            "Conclude 1/0 Healed=False (RecipientGone)",
            id="its pod was replaced",
        ),
        pytest.param(
            lambda view: without_pod(view, MEMBER), "Conclude 1/0 Healed=False (RecipientGone)", id="its pod is gone"
        ),
        pytest.param(
            lambda view: with_trainer(view, MEMBER, state="done"),
            "Conclude 1/0 Healed=False (RecipientGone)",
            id="it is done",
        ),
        pytest.param(
            lambda view: with_policy(view, replicas=1),
            "Conclude 1/0 Healed=False (RecipientGone)",
            id="its place is gone, and its pod is there",
        ),
        pytest.param(
            lambda view: with_return(view, MEMBER), "Conclude 1/0 Healed=False (AskedAgain)", id="it asked again"
        ),
        pytest.param(
            lambda view: with_report(view, MEMBER, agent="other"),
            "Conclude 1/0 Healed=False (AskedAgain)",
            id="another start of its agent asks",
        ),
        pytest.param(lambda view: with_trainer(view, MEMBER, state="absent"), None, id="its trainer ended"),
    ],
)
def test_a_heal_ends_with_a_verdict(change, concluded):
    view, _ = decided(with_crash(ALL_WAIT, MEMBER))
    assert view.epoch.number == 2
    told = words(decided(change(view))[1])
    assert [each for each in told if each.startswith("Conclude")] == ([concluded] if concluded else [])


def test_a_member_that_went_on_without_anybodys_memory_is_not_called_healed():
    view, _ = decided(replaced("0/0", "1/0", "2/0"))
    _, decisions = decided(answered(view))
    assert words(decisions)[:3] == [f"Conclude {each}/0 Healed=False (FellBack)" for each in ordered(view)]


def test_a_heal_that_fell_back_says_why():
    view, _ = decided(replaced("0/0", "1/0", "2/0"))
    _, decisions = decided(answered(view))
    assert isinstance(decisions[0], Conclude)
    assert decisions[0].message.endswith(
        "but not from anybody's memory; no arena survived: every pod that held a state is gone"
    )
    another = answered(view).model_copy(update={"epoch": view.epoch.model_copy(update={"number": 9})})
    verdict = conclude(at(another, NOW))
    assert verdict is not None
    assert verdict.message.endswith("but not from anybody's memory")


def ordered(view: JobView) -> list[int]:
    return [heal.recipient.replica for heal in sorted(view.heals, key=lambda heal: heal.name)]


def test_a_heal_that_an_older_word_closed_is_opened_again():
    view, _ = decided(replaced("1/0"))
    late = with_trainer(with_report(view, MEMBER, agent="before"), MEMBER, request=7)
    closed, decisions = decided(late)
    assert words(decisions)[0] == "Conclude 1/0 Healed=False (AskedAgain)"
    again = with_trainer(with_report(closed, MEMBER, agent="b1/0"), MEMBER, request=1)
    _, decisions = decided(again)
    assert [type(each) for each in decisions] == [Conclude, OpenHeal, Assign, Wait]


def test_a_heal_that_is_opened_again_gives_no_attempt_twice():
    view, _ = decided(replaced("1/0"))
    (heal,) = view.heals
    closed = view.model_copy(update={"heals": (heal.model_copy(update={"concluded_at": NOW, "healed": False}),)})
    again, _ = decided(closed)
    assert again.heals[0].name == heal.name
    assert (heal.highest_attempt, again.heals[0].highest_attempt) == (1, 2)


def test_a_request_that_was_healed_is_not_answered_twice():
    view, _ = decided(replaced("1/0"))
    healed = view.heals[0].model_copy(update={"concluded_at": NOW, "healed": True})
    _, decisions = decided(view.model_copy(update={"heals": (healed,)}))
    assert words(decisions) == ["Wait (OldRequest)"]


def test_a_member_that_was_not_lost_but_holds_nothing_believed_is_healed_too():
    damaged = with_report(ALL_WAIT, MEMBER, generations=(a_generation(MEMBER, 10, state_digest="e" * 32),))
    told = words(decided(damaged)[1])
    assert told[:2] == ["OpenHeal 1/0 (Damaged)", "Assign 1/0 from 0/0,2/0 step=10 attempt=1 (StateMissing)"]


def test_a_new_member_of_a_running_job_is_added():
    grown = with_policy(with_followers(with_new_pod(ended(a_job(replicas=2)), m("2/0"))), replicas=3)
    view = with_report(grown, m("0/0"), private_held=(*grown.heard[0].report.private_held, held_for(m("2/0"), 10)))
    assert words(decided(view)[1])[0] == "OpenHeal 2/0 (Added)"


def test_a_new_member_is_given_what_is_shared_and_begins_what_is_its_own():
    grown = with_policy(with_followers(with_new_pod(ended(a_job(replicas=2)), m("2/0"))), replicas=3)
    view, decisions = decided(grown)
    assert words(decisions)[:2] == [
        "OpenHeal 2/0 (Added)",
        "Assign 2/0 from 0/0,1/0 step=10 attempt=1 (StateMissing)",
    ]
    assert view.heals[0].assignment is not None
    _, decisions = decided(with_received(view, view.heals[0].assignment))
    assert isinstance(decisions[0], BeginEpoch)
    assert decisions[0].order.step == 10
    begins = {str(each.member): each.private_begins for each in decisions[0].members}
    assert begins == {"0/0": False, "1/0": False, "2/0": True}


FAILED = [("u0/0",) * n for n in (0, 4, 5)]


@pytest.mark.parametrize("failed", FAILED, ids=lambda each: f"{len(each)} failures before this one")
def test_memory_is_given_up_after_as_many_failures_as_the_policy_allows(failed):
    view, _ = decided(replaced("1/0"))
    heal = view.heals[0].model_copy(update={"failed": failed})
    assert heal.assignment is not None
    view = with_transfer(view.model_copy(update={"heals": (heal,)}), heal.assignment, "failed")
    told = words(decided(view)[1])
    assert any("AttemptsExhausted" in each for each in told) is (len(failed) + 1 >= 6)


def test_the_highest_step_that_was_ever_reached_is_passed_on_though_the_job_goes_back_behind_it():
    view = with_report(ALL_WAIT, MEMBER, generations=(a_generation(MEMBER, 12), a_generation(MEMBER, 10)))
    view, decisions = decided(view)
    assert isinstance(decisions[0], BeginEpoch)
    assert (decisions[0].order.step, decisions[0].order.highest, view.epoch.highest) == (10, 12, 12)
    order = orders(view)[MEMBER].epoch
    assert order is not None
    assert order.highest == 12
    gone = with_report(view, MEMBER, generations=(a_generation(MEMBER, 10),))
    _, decisions = decided(with_followers(ended(with_crash(answered(gone), MEMBER))))
    assert [each.order.highest for each in decisions if isinstance(each, BeginEpoch)] == [12]
    assert [each.order.highest for each in decided(a_new_job())[1] if isinstance(each, BeginEpoch)] == [None]


def test_a_step_that_changes_uses_up_no_attempt():
    view, _ = decided(replaced("1/0"))
    heal = view.heals[0].model_copy(update={"tries": 99})
    view = view.model_copy(update={"heals": (heal,)})
    for each in ("0/0", "2/0"):
        view = with_report(view, m(each), generations=(a_generation(m(each), 9),))
    assert words(decided(view)[1])[0] == "Assign 1/0 from 0/0,2/0 step=9 attempt=2 (StepChanged)"


@pytest.mark.parametrize("crashes", [1, 3, 4])
def test_a_trainer_that_crashes_at_one_step_again_and_again_is_left_to_the_checkpoint(crashes):
    view, told = a_job(), []
    for number in range(crashes):
        over = ended(view)
        ended_how = TrainerExit(incarnation=f"c{number}", epoch=view.epoch.number, signal=11)
        for member in view.policy.members():
            over = with_return(over, member, incarnation=f"{member} life {number}", epoch=view.epoch.number)
        over = with_trainer(over, MEMBER, exit=ended_how)
        for member in (m("0/0"), m("2/0")):
            over = with_trainer(
                over, member, exit=ended_how.model_copy(update={"signal": None, "code": 75, "told": True})
            )
        view, decisions = decided(over)
        told = words(decisions)
        view, _ = decided(answered(view))
    assert any("(CrashLoopAtStep)" in each for each in told) is (crashes > 3)
    assert any("(EveryoneWaits)" in each for each in told) is (crashes <= 3)


def test_a_crash_without_any_generation_is_no_crash_loop():
    view = with_crash(ALL_WAIT, MEMBER)
    for member in view.policy.members():
        view = with_report(view, member, generations=())
    view, decisions = decided(view)
    assert view.heals[0].crash_step is None
    assert any("(NothingKept)" in each for each in words(decisions))


class TestRecordsThatWereLost:
    """A leader that knows less than its agents must not let two memberships live."""

    LOST = a_job().epoch.model_copy(update={"number": 0, "open": False, "members": (), "rung": None})

    def test_a_running_epoch_is_left_alone(self):
        view = a_job().model_copy(update={"epoch": self.LOST})
        assert words(decided(view)[1]) == ["Wait (StillTraining)"]

    def test_it_is_closed_as_soon_as_somebody_waits(self):
        view = with_crash(a_job(), MEMBER).model_copy(update={"epoch": self.LOST})
        view, decisions = decided(view)
        assert words(decisions) == ["EndEpoch 2 (RecordsBehind)", "Wait until 1015 (StillTraining)"]
        assert (view.epoch.number, view.epoch.open, view.epoch.members) == (2, False, ())

    def test_it_is_closed_where_members_train_in_two_once_each_agent_has_had_its_word(self):
        view = with_trainer(a_job(), MEMBER, epoch=2).model_copy(update={"epoch": self.LOST, "leader_since": NOW - 9})
        view, decisions = decided(view)
        assert words(decisions) == [f"Wait until {NOW + 1:g} (StillTraining)"]
        _, decisions = decided(view, NOW + 1)
        assert words(decisions)[0] == "EndEpoch 3 (RecordsBehind)"

    def test_the_number_of_one_that_may_have_begun_unheard_is_not_given_again(self):
        """An agent that fell silent with its orders may act on them."""
        view, _ = decided(with_crash(a_job(), MEMBER).model_copy(update={"epoch": self.LOST}))
        silent = m("2/0")
        assert max(each.report.epoch_seen for each in view.heard if each.report.member != silent) == 1
        assert orders(view)[silent].epoch.over
        assert orders(view)[silent].epoch.epoch == 2

    def test_nothing_is_given_up_for_an_epoch_that_nobody_remembers(self):
        view = with_followers(with_crash(a_job(), MEMBER)).model_copy(update={"epoch": self.LOST})
        for member in view.policy.members():
            view = with_trainer(with_report(view, member, epoch_seen=5), member, state="waiting", epoch=5)
            view = with_followers(view)
        _, decisions = decided(view)
        assert words(decisions)[1] == "BeginEpoch 7 step=10 0/0:OwnMemory 1/0:OwnMemory 2/0:OwnMemory (EveryoneWaits)"


VIEWS = [
    a_job(),
    a_new_job(),
    with_crash(a_job(), MEMBER),
    replaced("1/0"),
    replaced("0/0", "2/1", ranks=2),
    decided(replaced("0/0", "1/0"))[0],
    with_trainer(a_job(), MEMBER, state="stopped"),
]


@pytest.mark.parametrize("view", VIEWS)
def test_deciding_again_after_everything_was_written_down_settles(view):
    after, decisions = decided(view)
    assert isinstance(decisions[-1], Nothing | Wait)
    assert decide(after, NOW) == decisions[-1]


@pytest.mark.parametrize("view", VIEWS)
def test_the_order_of_facts_and_records_means_nothing(view):
    expected = decided(view)[1]
    for seed in range(10):
        dice = random.Random(seed)
        mixed = {
            name: tuple(dice.sample(each, len(each)))
            for name in ("pods", "heard", "heals")
            if (each := getattr(view, name))
        }
        assert decided(view.model_copy(update=mixed))[1] == expected


def test_every_state_of_two_trainers_in_and_between_epochs_is_decided():
    states = ("absent", "starting", "waiting", "training", "stopped", "done")
    for one, other, is_open, fresh in itertools.product(states, states, (True, False), (True, False)):
        view = a_job(replicas=2)
        view = with_trainer(with_trainer(view, m("0/0"), state=one), MEMBER, state=other)
        view = view if fresh else with_heard(view, MEMBER, at=BEGAN)
        _, decisions = decided(view if is_open else ended(view, "1/0"))
        assert decisions[-1].message


@pytest.mark.parametrize("note", ["bad", "worse"], ids=["of a higher digest", "of a lower one"])
def test_what_a_peer_gave_counts_though_the_refused_bytes_of_that_step_still_lie_beside_it(note):
    """An arena keeps the step that its own trainer may be on; which digest is the higher says nothing."""
    wrong, right = a_generation(MEMBER, 10, state_digest=digest_of(0, 10, note)), a_generation(MEMBER, 10)
    view, made = decided(with_report(ALL_WAIT, MEMBER, generations=(wrong,)))
    (assigned,) = (each for each in made if isinstance(each, Assign))
    view = with_transfer(view, assigned.assignment, "verified", bytes=1000)
    view = with_report(view, MEMBER, generations=(wrong, right))
    assert words(decided(view)[1])[0] == "BeginEpoch 2 step=10 0/0:OwnMemory 1/0:Peer 2/0:OwnMemory (EveryoneWaits)"


def calls_of(work: Callable[[], object]) -> int:
    """How many calls it makes: as good as its time, and always the same."""
    made = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal made
        made += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return made


def a_ring(size: int) -> JobView:
    """Each replica keeps the private parts of the next two; every fourth one was lost."""
    view = replaced(*(f"{each}/0" for each in range(0, size, 4)), replicas=size)
    for each in range(size):
        kept = tuple(held_for(m(f"{(each + far) % size}/0"), 10, 9) for far in (1, 2))
        view = with_report(view, m(f"{each}/0"), private_held=kept)
    return view


def costliest(size: int) -> int:
    """Calls of the costliest decision on the way to a settled job, and of the orders that follow."""
    view, costs = a_ring(size), []
    while not isinstance(decision := decide(view, NOW), Wait):
        costs.append(calls_of(partial(decide, view, NOW)))
        view = advance(view, decision, NOW)
    return max(*costs, calls_of(partial(decide, view, NOW)), calls_of(partial(orders, view, decision)))


def test_what_a_look_costs_grows_with_the_job_and_not_with_its_square():
    assert costliest(80) < 2.4 * costliest(40)
