"""What people are told: derived anew every time, and in sentences."""

import pytest

from builders_core import (
    NOW,
    a_job,
    a_new_job,
    decided,
    ended,
    m,
    replaced,
    with_crash,
    with_followers,
    with_heard,
    with_new_pod,
    with_pod,
    with_received,
    with_report,
    with_trainer,
    with_transfer,
    without_pod,
)
from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.epoch_record import EpochRecord
from checkpointheal_operator.core.facts import Trouble
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.status import (
    TOLD_FLAWS,
    Condition,
    explain,
    heal_conditions,
    job_conditions,
    set_aside,
    transfer_of,
)
from checkpointheal_operator.core.view import JobView

MEMBER = m("1/0")
HEALING, _ = decided(replaced("1/0"))
ASSIGNMENT = HEALING.heals[0].assignment
assert ASSIGNMENT is not None
DONE = a_job()
for each in DONE.policy.members():
    DONE = with_trainer(DONE, each, state="done")
UNSEEN = a_job().model_copy(update={"epoch": EpochRecord()})
CLEARED = DONE.model_copy(update={"pods": (), "heard": (), "was_done": True})


def unheard(view: JobView, member: MemberId, since: float) -> JobView:
    """Nobody ever heard of the agent of this member's pod."""
    view = with_pod(view, member, seen_since=since)
    return view.model_copy(update={"heard": tuple(each for each in view.heard if each.report.member != member)})


def told(conditions: tuple[Condition, ...]) -> dict[str, tuple[bool, str]]:
    return {each.type: (each.status, each.reason) for each in conditions}


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param(
            a_job(),
            {
                "Training": (True, "FirstStart"),
                "Protected": (True, "AllWell"),
                "Degraded": (False, "AllWell"),
                "Done": (False, "NotYet"),
            },
            id="all train",
        ),
        pytest.param(a_new_job(), {"Training": (False, "NotYet")}, id="before the first epoch"),
        pytest.param(UNSEEN, {"Training": (True, "BeganBefore")}, id="all train, and the policy was made anew since"),
        pytest.param(
            with_trainer(UNSEEN, MEMBER, epoch=2),
            {"Training": (False, "NotYet")},
            id="in two epochs, and none is known",
        ),
        pytest.param(
            with_heard(UNSEEN, MEMBER, at=NOW - 6),
            {"Training": (False, "NotYet")},
            id="one is silent, and none is known",
        ),
        pytest.param(
            ended(a_job(), "1/0", reason="TrainerGone"), {"Training": (False, "TrainerGone")}, id="between two epochs"
        ),
        pytest.param(
            with_report(a_job(), MEMBER, conditions=("ArenaDoesNotFit",)),
            {"Protected": (False, "ArenaDoesNotFit"), "Degraded": (True, "ArenaDoesNotFit")},
            id="one is not protected",
        ),
        pytest.param(
            with_heard(a_job(), MEMBER, at=NOW - 179),
            {"Degraded": (True, "AgentSilent"), "Protected": (True, "AllWell")},
            id="one is silent",
        ),
        pytest.param(
            with_heard(a_job(), MEMBER, at=NOW - 180),
            {"Degraded": (True, "AgentSilent"), "Protected": (False, "AgentSilent")},
            id="one is silent for longer than its trainer would wait for it",
        ),
        pytest.param(
            with_pod(with_heard(a_job(), MEMBER, at=NOW - 179), MEMBER, terminating=True, ends_at=NOW - 30),
            {"Degraded": (True, "HeldByLostNode"), "Protected": (False, "HeldByLostNode")},
            id="one does not go, for its node is gone",
        ),
        pytest.param(
            unheard(a_job(), MEMBER, since=NOW - 1),
            {"Degraded": (True, "NotHeardFrom"), "Protected": (True, "AllWell")},
            id="one has not reported yet",
        ),
        pytest.param(
            unheard(a_job(), MEMBER, since=NOW - 60),
            {"Degraded": (True, "NotHeardFrom"), "Protected": (False, "NotHeardFrom")},
            id="one never reports",
        ),
        pytest.param(HEALING, {"Degraded": (True, "Replaced")}, id="one is being healed"),
        pytest.param(
            DONE,
            {"Training": (False, "AllDone"), "Done": (True, "AllDone"), "Degraded": (False, "AllWell")},
            id="all are done",
        ),
        pytest.param(
            CLEARED,
            {"Training": (False, "AllDone"), "Done": (True, "AllDone"), "Degraded": (False, "AllWell")},
            id="all were done, and their pods were cleared away",
        ),
        pytest.param(
            with_new_pod(CLEARED, MEMBER),
            {"Done": (False, "NotYet"), "Degraded": (True, "MemberMissing")},
            id="all were done, and one comes anew",
        ),
    ],
)
def test_a_job_is_told_in_four_conditions(view, expected):
    found = told(job_conditions(view, NOW))
    assert list(found) == ["Training", "Protected", "Degraded", "Done"]
    assert {name: found[name] for name in expected} == expected


def test_a_job_whose_memory_is_well_says_no_more_than_that_while_something_else_is_amiss():
    protected = job_conditions(with_heard(a_job(), MEMBER, at=NOW - 100), NOW)[1]
    assert (protected.status, protected.message) == (True, "nothing is amiss with its memory")


def test_all_flaws_are_told_in_one_message():
    view = with_pod(without_pod(a_job(), MEMBER), m("0/0"), terminating=True)
    degraded = job_conditions(view, NOW)[2]
    assert degraded.message == (
        "the pod of 0/0 is being deleted: its memory goes with it; "
        "no pod holds the place of 1/0: nothing begins without it"
    )


def test_what_ails_a_pod_is_told_once_for_all_its_seats():
    trouble = Trouble(reason=Reason.NOT_INJECTED, message="pod p has no agent")
    view = a_job()
    for member in (m("0/0"), m("1/0")):
        view = unheard(with_pod(view, member, trouble=trouble), member, since=0.0)
    found = {each.type: each for each in job_conditions(view, NOW)}
    assert [found[each].message for each in ("Protected", "Degraded")] == ["pod p has no agent"] * 2


def test_of_many_flaws_the_first_are_told_and_the_others_counted():
    view = a_job(replicas=300)
    for each in view.policy.members()[:200]:
        view = without_pod(view, each)
    message = job_conditions(view, NOW)[2].message
    assert message.count("no pod holds the place of") == TOLD_FLAWS
    assert message.endswith(f"; and {200 - TOLD_FLAWS} more")


def heal_told(view: JobView) -> list[tuple[bool, str]]:
    return list(told(heal_conditions(view, view.heals[0])).values())


UNASSIGNED = HEALING.model_copy(update={"heals": (HEALING.heals[0].model_copy(update={"assignment": None}),)})
OWN, _ = decided(with_crash(with_followers(ended(a_job(), "1/0")), MEMBER))


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param(UNASSIGNED, [(False, "NotYet")] * 3, id="nobody was assigned yet"),
        pytest.param(HEALING, [(True, "InOrder"), (False, "NotYet"), (False, "NotYet")], id="assigned"),
        pytest.param(
            with_transfer(HEALING, ASSIGNMENT, "asking"),
            [(True, "InOrder"), (False, "NotYet"), (False, "NotYet")],
            id="asking",
        ),
        pytest.param(
            with_transfer(HEALING, ASSIGNMENT, "failed", attempt=7),
            [(True, "InOrder"), (False, "NotYet"), (False, "NotYet")],
            id="an earlier attempt failed",
        ),
        pytest.param(
            with_transfer(HEALING, ASSIGNMENT, "receiving"),
            [(True, "InOrder"), (False, "InOrder"), (False, "InOrder")],
            id="bytes cross",
        ),
        pytest.param(with_transfer(HEALING, ASSIGNMENT, "verified"), [(True, "InOrder")] * 3, id="verified"),
        pytest.param(
            with_transfer(HEALING, ASSIGNMENT, "failed", reason="PeerLost"),
            [(True, "InOrder"), (False, "PeerLost"), (False, "PeerLost")],
            id="failed",
        ),
        pytest.param(
            with_transfer(HEALING, ASSIGNMENT, "failed"),
            [(True, "InOrder"), (False, "InOrder"), (False, "InOrder")],
            id="failed without a word",
        ),
        pytest.param(OWN, [(False, "NotNeeded")] * 3, id="from its own memory"),
    ],
)
def test_a_heal_is_told_in_four_conditions(view, expected):
    assert list(told(heal_conditions(view, view.heals[0]))) == [
        "DonorAssigned",
        "Transferred",
        "Verified",
        "Healed",
    ]
    assert heal_told(view)[:3] == expected


def test_progress_is_told_as_last_heard_and_afterwards_as_recorded():
    assert transfer_of(HEALING, HEALING.heals[0]) is None
    view = with_transfer(HEALING, ASSIGNMENT, "receiving", bytes=400)
    found = transfer_of(view, view.heals[0])
    assert found is not None
    assert found.bytes == 400
    other = with_transfer(HEALING, ASSIGNMENT, "receiving", heal="another")
    assert transfer_of(other, other.heals[0]) is None
    unheard = HEALING.model_copy(update={"heard": ()})
    assert transfer_of(unheard, unheard.heals[0]) is None
    over = view.heals[0].model_copy(update={"concluded_at": NOW, "transfer": found})
    assert transfer_of(unheard, over) == found


def test_an_explanation_names_donors_in_order_and_every_refusal():
    explanation = explain(HEALING, NOW, MEMBER)
    assert explanation.lines() == (
        "1/0 holds no usable state of step 10",
        "0/0 may give step 10; rank 1",
        "2/0 may give step 10; rank 2",
        "SameMember: 1/0 is the recipient itself",
    )


def test_a_member_that_needs_nobody_is_told_so():
    assert explain(HEALING, NOW, m("0/0")).reason == Reason.HOLDS_STATE


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        pytest.param(a_new_job(), Reason.NO_RESTORE_STEP, id="there is no step"),
        pytest.param(
            HEALING.model_copy(update={"leader_since": NOW, "heard": HEALING.heard[1:]}),
            Reason.NOT_HEARD_FROM,
            id="somebody was not heard yet",
        ),
    ],
)
def test_without_a_restore_step_that_is_the_explanation(view, reason):
    explanation = explain(view, NOW, MEMBER)
    assert (explanation.reason, explanation.donors, explanation.refusals) == (reason, (), ())


def test_a_place_that_nobody_holds_is_explained_too():
    assert explain(without_pod(HEALING, MEMBER), NOW, MEMBER).reason == Reason.STATE_MISSING
    assert explain(HEALING, NOW, m("8/0")).reason == Reason.STATE_MISSING


def test_a_received_state_is_its_own():
    assert explain(with_received(HEALING, ASSIGNMENT), NOW, MEMBER).reason == Reason.HOLDS_STATE


def test_a_job_whose_places_are_meant_differently_is_neither_protected_nor_well():
    found = set_aside(Reason.LAYOUT_DIFFERS, "the job is not healed: two numbers")
    assert told(found) == {
        "LayoutDiffers": (True, "LayoutDiffers"),
        "Protected": (False, "LayoutDiffers"),
        "Degraded": (True, "LayoutDiffers"),
    }
    assert {each.message for each in found} == {"the job is not healed: two numbers"}
