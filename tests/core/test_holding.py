"""Where the policy holds a job, only a person or memory itself lets it go on, and both are told."""

import pytest

from builders_core import (
    NOW,
    a_generation,
    a_job,
    a_new_job,
    decided,
    ended,
    m,
    replaced,
    with_crash,
    with_followers,
    with_new_pod,
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
from checkpointheal_operator.core.decisions import Assign, BeginEpoch, Wait, held_by
from checkpointheal_operator.core.reasons import Reason, Rung
from checkpointheal_operator.core.status import job_conditions
from checkpointheal_operator.core.view import JobView

MEMBER = m("1/0")
ALL_WAIT = with_followers(ended(a_job(), "1/0"))


def emptied(view: JobView, *members: str, **changes: object) -> JobView:
    for each in members:
        view = with_report(view, m(each), generations=(), **changes)
    return view


def without_private_parts(view: JobView) -> JobView:
    for member in view.policy.members():
        view = with_report(view, member, private_held=())
    return view


def exhausted() -> JobView:
    """The last attempt that the policy allows has just failed."""
    view, _ = decided(replaced("1/0"))
    heal = view.heals[0].model_copy(update={"failed": ("u0/0", "u2/0", "u0/0", "u2/0", "u2/0")})
    assert heal.assignment is not None
    return with_transfer(view.model_copy(update={"heals": (heal,)}), heal.assignment, "failed")


def crash_loop() -> JobView:
    """The same member crashed at the same step four times."""
    view = a_job()
    for number in range(4):
        over = ended(view)
        for member in view.policy.members():
            told = TrainerExit(incarnation=f"c{number}", epoch=view.epoch.number, code=75, told=True)
            over = with_return(over, member, incarnation=f"{member} life {number}", epoch=view.epoch.number, exit=told)
        over = with_trainer(
            over, MEMBER, exit=TrainerExit(incarnation=f"c{number}", epoch=view.epoch.number, signal=11)
        )
        if number == 3:
            return over
        view, _ = decided(over)
        for each in view.epoch.members:
            view = with_trainer(view, each.member, state="training", epoch=view.epoch.number)
            view = with_report(view, each.member, epoch_seen=view.epoch.number)
        view, _ = decided(view)
    raise AssertionError("it returns in the last round")


FALLEN = [
    pytest.param(
        replaced("0/0", "1/0", "2/0"),
        Reason.NO_SURVIVING_ARENA,
        "make the job and its CheckpointHeal anew",
        id="all pods are new",
    ),
    pytest.param(
        emptied(ALL_WAIT, "0/0", "1/0", "2/0"),
        Reason.NOTHING_KEPT,
        "make the job and its CheckpointHeal anew",
        id="nobody kept any",
    ),
    pytest.param(
        replaced("0/0", "1/0", ranks=2, replicas=2),
        Reason.NO_ELIGIBLE_DONOR,
        "bring a donor back",
        id="a coordinate is gone",
    ),
    pytest.param(
        without_private_parts(replaced("1/0")),
        Reason.PRIVATE_STATE_LOST,
        "bring a member back that kept it",
        id="a private part is gone",
    ),
    pytest.param(exhausted(), Reason.ATTEMPTS_EXHAUSTED, "it is tried again and again", id="every attempt failed"),
    pytest.param(crash_loop(), Reason.CRASH_LOOP_AT_STEP, "attempts.crashesAtOneStep", id="it crashes at one step"),
]


@pytest.mark.parametrize(("view", "reason", "mend"), FALLEN)
def test_what_would_go_back_to_the_checkpoint_is_held_and_says_what_would_be_lost_and_what_helps(view, reason, mend):
    _, free = decided(view)
    fell = next(each for each in free if isinstance(each, BeginEpoch))
    assert (fell.reason, fell.order.rung) == (reason, Rung.CHECKPOINT)

    held, decisions = decided(with_policy(view, fallback="Hold"))
    assert not any(isinstance(each, BeginEpoch) for each in decisions)
    said = held_by(decisions[-1])
    assert said.startswith(fell.message + "; spec.fallback is Hold")
    assert "what was trained since it" in said
    assert "set spec.fallback to Checkpoint" in said
    assert mend in said
    asked = {(heal.name, heal.reason) for heal in view.heals if not heal.is_open}
    assert {(heal.name, heal.reason) for heal in held.heals if not heal.is_open} == asked

    _, freed = decided(with_policy(held, fallback="Checkpoint"))
    assert str(fell) in words(freed)


def test_what_the_policy_allows_already_is_not_what_helps():
    lost = with_policy(without_private_parts(replaced("1/0")), fallback="Hold")
    assert "or set spec.privateState.behind to Allow" in held_by(decided(lost)[1][-1])
    said = held_by(decided(with_policy(lost, private_behind="Allow"))[1][-1])
    assert said.endswith("or bring a member back that kept it")


def test_it_says_which_step_the_job_had_reached():
    assert "trained since it, up to step 10, would be lost" in held_by(
        decided(with_policy(replaced("0/0", "1/0", "2/0"), fallback="Hold"))[1][-1]
    )
    nobody_knows = with_policy(emptied(ALL_WAIT, "0/0", "1/0", "2/0"), fallback="Hold")
    assert "trained since it would be lost" in held_by(decided(nobody_knows)[1][-1])


def test_a_first_start_is_no_fallback():
    _, decisions = decided(a_new_job(fallback="Hold"))
    assert words(decisions)[0] == "BeginEpoch 1 no step 0/0:Fresh 1/0:Fresh 2/0:Fresh (FirstStart)"
    assert held_by(decisions[0]) == ""


@pytest.mark.parametrize("view", [with_crash(ALL_WAIT, MEMBER), replaced("1/0")], ids=["own memory", "a peer"])
def test_where_memory_has_the_state_holding_changes_nothing(view):
    assert decided(with_policy(view, fallback="Hold"))[1] == decided(view)[1]


def test_a_donor_that_comes_back_lets_a_held_job_go_on_without_a_word():
    view = with_policy(replaced("0/0", "1/0", "2/0"), fallback="Hold")
    held, decisions = decided(view)
    assert held_by(decisions[-1])
    back = with_report(held, m("0/0"), generations=(a_generation(m("0/0"), 10),))
    keeps = with_report(back, m("0/0"), private_held=tuple(a_job().heard[0].report.private_held))
    healing, decisions = decided(keeps)
    assigned = [each for each in decisions if isinstance(each, Assign)]
    assert [each.assignment.recipient.member for each in assigned] == [m("1/0"), m("2/0")]
    for each in assigned:
        healing = with_received(healing, each.assignment)
    assert "BeginEpoch 2 step=10 0/0:OwnMemory 1/0:Peer 2/0:Peer (EveryoneWaits)" in words(decided(healing)[1])


def test_a_held_heal_is_tried_again_whenever_a_donor_has_rested_and_says_so_meanwhile():
    view, decisions = decided(with_policy(exhausted(), fallback="Hold"))
    assert isinstance(decisions[-1], Wait)
    assert (decisions[-1].reason, decisions[-1].until) == (Reason.HELD, NOW + 4)
    rested = view.model_copy(update={"heard": tuple(h.model_copy(update={"at": NOW + 4}) for h in view.heard)})
    again, decisions = decided(rested, NOW + 4)
    assert words(decisions) == [
        "Assign 1/0 from 0/0,2/0 step=10 attempt=2 (TransferFailed)",
        "Wait until 1034 (Transferring)",
    ]
    assert again.heals[0].is_open


def test_a_crash_loop_that_is_forgiven_goes_on_from_memory():
    held, _ = decided(with_policy(crash_loop(), fallback="Hold"))
    _, decisions = decided(with_policy(held, same_step_crashes=9))
    assert "(EveryoneWaits)" in words(decisions)[0]


def test_what_is_held_is_told_before_what_else_is_missing():
    view = with_policy(without_pod(replaced("0/0", "1/0", "2/0"), m("2/0")), fallback="Hold")
    after, decisions = decided(view)
    held = held_by(decisions[-1])
    assert held
    degraded = job_conditions(after, NOW, decisions[-1])[2]
    assert (degraded.status, degraded.reason) == (True, Reason.HELD)
    assert degraded.message.startswith(held)
    assert "no pod holds the place of 2/0" in degraded.message


def test_an_agent_that_may_still_report_is_waited_for_before_anything_is_held():
    view = with_policy(with_new_pod(replaced("0/0", "2/0"), MEMBER), fallback="Hold")
    unheard = view.model_copy(update={"heard": view.heard[:-1], "leader_since": NOW - 1})
    decision = decide(decided(unheard)[0], NOW)
    assert decision.reason == Reason.NOT_HEARD_FROM
