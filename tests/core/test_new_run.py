"""Another run is another one's: nothing is remembered of it but the numbers that fence."""

import pytest

from builders_core import (
    NOW,
    a_generation,
    a_job,
    a_pod,
    decided,
    digest_of,
    ended,
    m,
    with_new_pod,
    with_pod,
    with_policy,
    with_report,
    with_trainer,
    without_pod,
    words,
)
from checkpointheal.contract.layout import Identity
from checkpointheal_operator.core.decide import decide
from checkpointheal_operator.core.decisions import BeginEpoch, EndEpoch
from checkpointheal_operator.core.epoch_record import EpochRecord, LeftOut
from checkpointheal_operator.core.heal_record import Remembered
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.records import advance
from checkpointheal_operator.core.view import JobView

MEMBERS = a_job().policy.members()
WITNESS = Remembered(
    member=MEMBERS[0],
    pod_uid="w",
    identity=Identity(step=500, schema_digest="5" * 32, state_digest=digest_of(0, 500)),
)
FIRST_START = ["EndEpoch 2 (NewRun)", "BeginEpoch 3 no step 0/0:Fresh 1/0:Fresh 2/0:Fresh (FirstStart)"]


def all_new(view: JobView) -> JobView:
    for member in MEMBERS:
        view = with_new_pod(view, member)
    return view


def done(view: JobView) -> JobView:
    for member in MEMBERS:
        view = with_trainer(view, member, state="done")
    return view


def after(view: JobView, **changes: object) -> JobView:
    """What the run before left."""
    epoch = view.epoch.model_copy(update={"highest": 500, "sound": 400})
    return view.model_copy(update={"epoch": epoch, "remembered": (WITNESS,)} | changes)


HEARD = after(all_new(done(a_job())))
TOLD = after(all_new(a_job()).model_copy(update={"heard": all_new(a_job()).heard[3:]}), was_done=True)
RENAMED = after(all_new(ended(a_job(), "0/0")), known_as="before")
SAME = after(all_new(a_job()), known_as="demo")


@pytest.mark.parametrize("fallback", ["Checkpoint", "Hold"])
@pytest.mark.parametrize(
    "view",
    [
        pytest.param(HEARD, id="the one before was heard to be done"),
        pytest.param(TOLD, id="the one before was told to be done"),
        pytest.param(RENAMED, id="it bears another name"),
    ],
)
def test_another_run_starts_for_the_first_time_and_nothing_of_the_one_before_is_remembered(view, fallback):
    later, decisions = decided(with_policy(view, fallback=fallback))
    assert words(decisions)[:2] == FIRST_START
    begun = decisions[1]
    assert isinstance(begun, BeginEpoch)
    assert begun.order.highest is None
    assert (later.remembered, later.epoch.highest, later.epoch.sound, later.heals) == ((), None, None, ())


def test_it_says_why():
    ending = decide(RENAMED, NOW)
    assert ending.message.startswith("another run has begun: the job was before, and is demo; ")
    assert "all of the one before were done" in decide(TOLD, NOW).message


def test_it_is_written_down_once():
    ending = decide(RENAMED, NOW)
    written = advance(RENAMED, ending, NOW)
    assert written.epoch == EpochRecord(number=2, ended_at=NOW, reason="NewRun", message=ending.message)
    assert advance(written, ending, NOW + 1) == written


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(SAME, id="one of the same name may be the same one, whose pods were all lost"),
        pytest.param(SAME.model_copy(update={"known_as": ""}), id="its name was never told"),
        pytest.param(after(a_job(), known_as="before"), id="its pods are called otherwise and train"),
        pytest.param(after(with_new_pod(a_job(), MEMBERS[0]), known_as="before"), id="some of its pods are there"),
        pytest.param(
            after(all_new(done(a_job())), pods=tuple(a_pod(each, uid=f"v{each}", seen_since=1.0) for each in MEMBERS)),
            id="who was left out is as old as the run before",
        ),
        pytest.param(RENAMED.model_copy(update={"epoch": EpochRecord(number=7)}), id="nobody knows whose epoch it was"),
        pytest.param(after(done(a_job()), pods=()), id="nobody has come yet"),
    ],
)
def test_where_it_may_be_the_same_run_nothing_is_forgotten(view):
    assert not any(isinstance(each, EndEpoch) and each.anew for each in decided(view)[1])
    assert decided(view)[0].remembered == (WITNESS,)


def test_a_pod_of_the_run_before_that_is_on_its_way_out_fills_no_place_of_the_next_one():
    view = done(a_job())
    for member in (MEMBERS[0], MEMBERS[2]):
        view = with_new_pod(view, member)
    found = decided(with_pod(view, MEMBERS[1], terminating=True))[1]
    assert words(found) == ["EndEpoch 2 (NewRun)", "Wait (Draining)"]


def test_what_a_lost_pod_reached_in_the_run_itself_counts():
    """A witness of a run that has not begun an epoch is nobody's."""
    view, _ = decided(without_pod(HEARD, MEMBERS[0]))
    assert view.epoch.is_anew
    view = with_new_pod(view, MEMBERS[0])
    begun = decided(view)[1][0]
    assert isinstance(begun, BeginEpoch)
    assert (begun.order.highest, begun.reason) == (None, Reason.FIRST_START)


def test_memory_is_asked_all_the_same():
    view = RENAMED
    for member in MEMBERS:
        view = with_report(view, member, generations=(a_generation(member, 20, epoch=None),))
    assert "BeginEpoch 3 step=20" in words(decided(view)[1])[1]


def test_who_was_left_out_of_a_run_that_is_done_is_no_other_run():
    """Its memory is of a past that the others left: who forgot that would believe it."""
    view = done(a_job())
    epoch = view.epoch.model_copy(
        update={"members": view.epoch.members[:2], "left_out": (LeftOut(member=m("2/0"), since=9, epoch=1),)}
    )
    for member in MEMBERS[:2]:
        view = without_pod(view, member)
    back = with_trainer(view, MEMBERS[2], state="waiting").model_copy(update={"epoch": epoch})
    assert not any(isinstance(each, EndEpoch) and each.anew for each in decided(back)[1])
