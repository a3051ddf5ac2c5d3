"""Where no step serves exactly and the policy allows it, a member goes on with an earlier private part of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders_core import (
    NOW,
    a_generation,
    a_job,
    decided,
    digest_of,
    ended,
    held_for,
    m,
    replaced,
    with_followers,
    with_heard,
    with_new_pod,
    with_policy,
    with_received,
    with_report,
    with_return,
    without_pod,
    words,
)
from checkpointheal_operator.core.decisions import BeginEpoch, Conclude, Wait
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.orders import orders
from checkpointheal_operator.core.reasons import Reason, Rung
from checkpointheal_operator.core.restore import RestorePoint, restore_point
from checkpointheal_operator.core.status import heal_conditions, job_conditions
from checkpointheal_operator.core.view import JobView

LOST = m("1/0")
OTHERS = (m("0/0"), m("2/0"))


def on_demand(view: JobView, *kept: int, able: bool = True, allowed: bool = True) -> JobView:
    """The others gave step 10, which is all that there is of the state; they keep these parts of the lost one."""
    for member in OTHERS:
        held = (*(held_for(each, 9, 10) for each in OTHERS if each != member), held_for(LOST, *kept))
        view = with_report(view, member, generations=(a_generation(member, 10),), private_held=held)
    for member in view.policy.members():
        view = with_report(view, member, behind=able)
    return with_policy(view, private_behind="Allow" if allowed else "Refuse")


def with_own(view: JobView, *steps: int) -> JobView:
    """Parts in the lost one's own arena, beside no generation."""
    return with_report(view, LOST, private_own=steps)


def with_nothing(view: JobView, member: str) -> JobView:
    """Its arena is empty, and nobody keeps a part of it."""
    for each in OTHERS:
        view = with_report(view, each, private_held=(held_for(LOST, 9),))
    return with_report(view, m(member), generations=())


def point_of(view: JobView) -> RestorePoint:
    point = restore_point(at(view, NOW))
    assert isinstance(point, RestorePoint), point
    return point


BACK_EMPTY = with_report(with_followers(ended(a_job(), "1/0")), LOST, generations=())


@pytest.mark.parametrize(
    ("view", "behind", "holders"),
    [
        pytest.param(on_demand(replaced("1/0"), 7, 8, 9), 9, ("u0/0", "u2/0"), id="its buddies keep the step before"),
        pytest.param(on_demand(replaced("1/0"), 3), 3, ("u0/0", "u2/0"), id="they keep one of long ago"),
        pytest.param(with_own(on_demand(BACK_EMPTY), 8, 9), 9, None, id="its own arena has it"),
        pytest.param(with_own(on_demand(BACK_EMPTY, 8), 9), 9, None, id="its own arena has a later one than they"),
        pytest.param(with_own(on_demand(BACK_EMPTY, 9), 8), 9, ("u0/0", "u2/0"), id="they have a later one than it"),
        pytest.param(on_demand(replaced("1/0"), 9, 11), 9, ("u0/0", "u2/0"), id="they keep one of the future, too"),
        pytest.param(without_pod(on_demand(replaced("1/0"), 9), LOST), 9, ("u0/0", "u2/0"), id="it has no pod yet"),
    ],
)
def test_it_goes_on_with_its_latest_part_before_the_step(view, behind, holders):
    point = point_of(view)
    assert (point.step, point.reason, point.behind) == (10, Reason.PRIVATE_STATE_BEHIND, {LOST: behind})
    assert point.private.get(LOST) == holders
    assert point.message == (
        f"all members wait and hold step 10; step 10 goes on with an earlier private part of 1/0 at step {behind}: "
        "restored, and not as if nothing had been"
    )


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(on_demand(replaced("1/0"), 9, allowed=False), id="the policy does not say so"),
        pytest.param(on_demand(replaced("1/0"), 9, able=False), id="an older build, or a part that counts steps"),
        pytest.param(on_demand(replaced("1/0")), id="it has none at all"),
        pytest.param(on_demand(replaced("1/0"), 11), id="it has one of the future alone"),
        pytest.param(with_nothing(on_demand(replaced("1/0"), 9), "2/0"), id="another one has none"),
    ],
)
def test_else_the_job_goes_to_the_checkpoint_as_ever(view):
    point = point_of(view)
    assert (point.step, point.rung, point.reason) == (None, Rung.CHECKPOINT, Reason.PRIVATE_STATE_LOST)
    assert not point.behind


def test_a_lower_step_that_serves_exactly_comes_first():
    view = on_demand(replaced("1/0"), 9)
    for member in OTHERS:
        view = with_report(view, member, generations=(a_generation(member, 10), a_generation(member, 9)))
    point = point_of(view)
    assert (point.step, point.reason, point.behind) == (9, Reason.EVERYONE_WAITS, {})


def test_its_part_of_the_very_step_is_enough_though_no_generation_lies_beside_it():
    point = point_of(with_own(on_demand(BACK_EMPTY, able=False, allowed=False), 10))
    assert (point.step, point.reason, dict(point.behind)) == (10, Reason.EVERYONE_WAITS, {})
    assert LOST not in point.private


def test_of_two_steps_that_nobody_can_have_exactly_the_higher_one_is_taken():
    view = on_demand(replaced("1/0"), 7)
    for member in OTHERS:
        view = with_report(view, member, generations=(a_generation(member, 10), a_generation(member, 9)))
    assert (point_of(view).step, point_of(view).behind) == (10, {LOST: 7})
    lost = with_report(view, m("0/0"), generations=(a_generation(m("0/0"), 9), a_generation(m("0/0"), 8)))
    lost = with_report(lost, m("2/0"), generations=(a_generation(m("2/0"), 9),), private_held=())
    assert (point_of(lost).step, point_of(lost).behind) == (9, {LOST: 7})


def test_no_earlier_part_makes_up_for_a_step_of_which_nobodys_bytes_are_believed():
    view = on_demand(replaced("1/0"), 9)
    for member in OTHERS:
        other = a_generation(member, 11, state_digest=digest_of(0, 11, str(member)))
        view = with_report(view, member, generations=(other, a_generation(member, 10)))
    assert (point_of(view).step, point_of(view).behind) == (10, {LOST: 9})


def test_a_silent_agent_may_have_the_part_of_the_very_step():
    wait = restore_point(at(with_heard(on_demand(replaced("1/0"), 9), m("0/0"), at=NOW - 6), NOW))
    assert isinstance(wait, Wait)
    assert wait.reason == Reason.HEARTBEAT_STALE


def test_who_never_had_one_begins_all_the_same():
    grown = with_followers(ended(with_new_pod(with_policy(a_job(), replicas=4), m("3/0"))))
    grown = with_new_pod(grown, LOST)
    point = point_of(on_demand(grown, 9))
    assert (point.step, point.beginning, point.behind) == (10, (m("3/0"),), {LOST: 9})
    assert "the private part of 3/0 begins there: it has none of that step; step 10 goes on with" in point.message


def begun() -> tuple[JobView, BeginEpoch]:
    """The lost one was given step 10, and the epoch has begun."""
    view, _ = decided(on_demand(replaced("1/0"), 8, 9))
    assert view.heals[0].assignment is not None
    view, made = decided(with_report(with_received(view, view.heals[0].assignment), LOST, behind=True))
    assert isinstance(made[0], BeginEpoch)
    return view, made[0]


def test_the_epoch_says_so_of_that_member_alone():
    view, decision = begun()
    assert str(decision) == "BeginEpoch 2 step=10 0/0:OwnMemory 1/0:Peer 2/0:OwnMemory (PrivateStateBehind)"
    assert {str(each.member): each.private_step for each in decision.members} == {"0/0": None, "1/0": 9, "2/0": None}
    training = job_conditions(view, NOW)[0]
    assert (training.type, training.status, training.reason) == ("Training", True, Reason.PRIVATE_STATE_BEHIND)


def test_orders_name_the_earlier_part_who_has_it_and_that_it_is_kept():
    view, _ = begun()
    told = orders(view)
    assert [each.epoch.private_step for each in told.values() if each.epoch] == [None, 9, None]
    assert [str(each.member) for each in told[LOST].private_from] == ["0/0", "2/0"]
    assert {each.keep_steps for each in told.values()} == {(9, 10)}
    assert {each.keep_steps for each in orders(ended(view)).values()} == {(9, 10)}


def test_the_job_can_go_back_to_that_step_once_more_and_with_the_same_part():
    view, _ = begun()
    again = with_followers(ended(with_return(view, LOST), "1/0"))
    assert (point_of(again).step, point_of(again).behind) == (10, {LOST: 9})


def test_the_heal_ends_healed_and_says_what_it_is_not():
    view, _ = begun()
    trains = view.heals[0]
    trainer = {"state": "training", "epoch": 2}
    report = next(each.report for each in view.heard if each.report.pod_uid == trains.pod_uid)
    view = with_report(view, LOST, trainer=report.trainer.model_copy(update=trainer))
    view, made = decided(view)
    assert words(made)[0] == "Conclude 1/0 Healed=True (PrivateStateBehind)"
    assert isinstance(made[0], Conclude)
    assert made[0].message == (
        "1/0 trains in epoch 2; step 10 goes on with an earlier private part of 1/0 at step 9: restored, and not as if "
        "nothing had been"
    )
    healed = heal_conditions(view, view.heals[0])[-1]
    assert (healed.type, healed.status, healed.reason) == ("Healed", True, Reason.PRIVATE_STATE_BEHIND)


steps = st.frozensets(st.integers(0, 4))


@given(
    given_steps=st.tuples(steps, steps, steps),
    own=st.tuples(steps, steps, steps),
    kept=st.tuples(steps, steps, steps),
    able=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_whatever_lies_where_nobody_is_given_anothers_part_or_one_of_the_future_or_stands_back_for_nothing(
    given_steps, own, kept, able
):
    view = with_policy(with_followers(ended(a_job())), private_behind="Allow")
    members = view.policy.members()
    for n, member in enumerate(members):
        left = members[(n + 1) % 3]
        view = with_report(
            view,
            member,
            generations=tuple(a_generation(member, step, private=False) for step in sorted(given_steps[n])),
            private_own=tuple(sorted(own[n])),
            private_held=(held_for(left, *sorted(kept[n])),),
            behind=able[n],
        )
    point = point_of(view)
    theirs = {member: own[n] | kept[n - 1] for n, member in enumerate(members)}
    held = frozenset().union(*given_steps)
    exact = [step for step in held if all(step in each for each in theirs.values())]
    if exact:
        assert (point.step, point.behind) == (max(exact), {})
        return
    may = {member: able[n] for n, member in enumerate(members)}
    serving = [
        step
        for step in held
        if all(step in has or (may[who] and any(each < step for each in has)) for who, has in theirs.items())
    ]
    assert point.step == max(serving, default=None)
    for who, has in theirs.items() if point.step is not None else ():
        assert point.behind.get(who) == (None if point.step in has else max(each for each in has if each < point.step))
