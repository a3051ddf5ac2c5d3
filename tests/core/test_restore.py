"""At which step the job goes on: the highest that every coordinate and every private part allow."""

import pytest

from builders_core import (
    NOW,
    SCHEMA,
    a_generation,
    a_job,
    a_new_job,
    digest_of,
    ended,
    held_for,
    holding,
    m,
    replaced,
    with_followers,
    with_heard,
    with_new_pod,
    with_pod,
    with_policy,
    with_report,
    with_trainer,
    without_pod,
)
from checkpointheal.contract.report import Flaw, Passed
from checkpointheal_operator.core.decisions import Wait
from checkpointheal_operator.core.epoch_record import EpochRecord
from checkpointheal_operator.core.heal_record import Remembered
from checkpointheal_operator.core.hearing import remember
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.reasons import Reason, Rung
from checkpointheal_operator.core.restore import RestorePoint, restore_point
from checkpointheal_operator.core.view import JobView

ALL_WAIT = with_followers(ended(a_job(), "1/0"))


def point_of(view: JobView, now: float = NOW) -> RestorePoint:
    point = restore_point(at(view, now))
    assert isinstance(point, RestorePoint), point
    return point


def wait_of(view: JobView, now: float = NOW) -> Wait:
    point = restore_point(at(view, now))
    assert isinstance(point, Wait), point
    return point


def keeping(view: JobView, member: str, *held: tuple[str, int]) -> JobView:
    return with_report(view, m(member), private_held=tuple(held_for(m(each), step) for each, step in held))


@pytest.mark.parametrize(
    ("view", "step"),
    [
        pytest.param(ALL_WAIT, 10, id="everybody holds the latest"),
        pytest.param(holding(ALL_WAIT, "1/0", 9, 8), 10, id="one is a step behind and a buddy has its private part"),
        pytest.param(holding(ALL_WAIT, "1/0"), 10, id="one holds nothing"),
        pytest.param(replaced("0/0", "1/0"), 10, id="two of three pods are new"),
        pytest.param(without_pod(ALL_WAIT, m("1/0")), 10, id="one has no pod yet"),
        pytest.param(with_new_pod(ended(a_job(), "1/0"), m("1/0")), 10, id="the others have not come back yet"),
        pytest.param(
            holding(ALL_WAIT, "2/0", 11, 10),
            10,
            id="one alone was ahead: nobody has its peers' private parts of that step",
        ),
        pytest.param(
            keeping(keeping(holding(ALL_WAIT, "2/0", 11), "2/0", ("0/0", 11)), "0/0", ("1/0", 11)),
            11,
            id="one was ahead and buddies hold the private parts of that step",
        ),
        pytest.param(
            with_pod(ALL_WAIT, m("1/0"), terminating=True), 10, id="a pod that is being deleted gives nothing"
        ),
        pytest.param(
            holding(holding(with_trainer(ALL_WAIT, m("2/0"), state="done"), "0/0", 10), "1/0", 10), 10, id="one is done"
        ),
    ],
)
def test_the_restore_step_is_the_highest_that_all_can_be_given(view, step):
    assert point_of(view).step == step


def test_a_step_without_private_part_is_passed_over_and_named():
    view = replaced("1/0")
    for member in ("0/0", "2/0"):
        view = keeping(view, member, ("1/0", 9))
    point = point_of(view)
    assert point.step == 9
    assert point.message == (
        "all members wait and hold step 9; not step 10: the private part of 1/0 at step 10 is nowhere"
    )
    assert point.private == {m("1/0"): ("u0/0", "u2/0")}


GROWN = with_new_pod(with_policy(a_job(), replicas=4), m("3/0"))
"""A fourth member has come and waits. No epoch has ever known it."""


def with_epoch(view: JobView, **changes: object) -> JobView:
    return view.model_copy(update={"epoch": view.epoch.model_copy(update=changes)})


def beginner(step: int) -> JobView:
    """The fourth member was given step 10 in epoch 2, which is over; its private part began there."""
    view = with_followers(ended(GROWN))
    new = view.epoch.members[0].model_copy(update={"member": m("3/0"), "pod_uid": "v3/0", "private_begins": True})
    view = with_epoch(view, step=10, members=(*view.epoch.members, new))
    for member in view.policy.members():
        view = holding(view, str(member), step, private=member != m("3/0"), epoch=2)
    return view


def remembering(view: JobView, step: int) -> JobView:
    """The fourth place was held before, by a pod that is gone; its last state is known."""
    identity = a_generation(m("3/0"), step).identity
    return view.model_copy(update={"remembered": (Remembered(member=m("3/0"), pod_uid="gone", identity=identity),)})


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(with_followers(ended(GROWN)), id="it was in no epoch"),
        pytest.param(remembering(with_followers(ended(GROWN)), 9), id="it left before the job came to that step"),
        pytest.param(beginner(10), id="its part began with the epoch, at that step"),
    ],
)
def test_who_never_had_a_private_part_of_the_step_holds_nobody_up(view):
    point = point_of(view)
    assert (point.step, point.beginning) == (10, (m("3/0"),))
    assert point.message.endswith("the private part of 3/0 begins there: it has none of that step")


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(remembering(with_followers(ended(GROWN)), 10), id="it held that step before it left"),
        pytest.param(beginner(11), id="it has trained since its part began"),
        pytest.param(with_epoch(with_followers(ended(GROWN)), rung=None), id="the records do not say"),
        pytest.param(with_epoch(with_followers(ended(GROWN)), members=()), id="the records name nobody"),
    ],
)
def test_who_may_have_had_a_private_part_is_never_told_to_begin(view):
    assert point_of(view).reason == Reason.PRIVATE_STATE_LOST


def test_every_coordinate_must_be_held_by_somebody():
    view = with_followers(ended(a_job(replicas=2, ranks=2), "0/1"))
    assert point_of(holding(holding(view, "0/1", 9), "1/1", 9, 8)).step == 9


@pytest.mark.parametrize(
    ("view", "reason", "rung"),
    [
        pytest.param(a_new_job(), Reason.FIRST_START, Rung.FRESH, id="nothing was ever held"),
        pytest.param(replaced("0/0", "1/0", "2/0"), Reason.NO_SURVIVING_ARENA, Rung.CHECKPOINT, id="all pods are new"),
        pytest.param(
            with_new_pod(with_new_pod(replaced("0/1", ranks=2), m("1/1")), m("2/1")),
            Reason.NO_ELIGIBLE_DONOR,
            Rung.CHECKPOINT,
            id="nobody holds a coordinate",
        ),
        pytest.param(
            keeping(keeping(replaced("1/0"), "0/0"), "2/0"),
            Reason.PRIVATE_STATE_LOST,
            Rung.CHECKPOINT,
            id="a private part is nowhere",
        ),
        pytest.param(
            holding(holding(with_followers(ended(a_job(replicas=1, ranks=2))), "0/0", 10), "0/1", 8),
            Reason.NO_COMMON_STEP,
            Rung.CHECKPOINT,
            id="coordinates hold different steps",
        ),
    ],
)
def test_where_no_step_will_do_the_rung_that_is_left_is_named(view, reason, rung):
    point = point_of(view)
    assert (point.step, point.reason, point.rung) == (None, reason, rung)


def test_what_a_lost_pod_held_makes_a_start_not_the_first():
    gone = remember(a_job().model_copy(update={"pods": ()}), NOW + 60)
    assert point_of(a_new_job().model_copy(update={"remembered": gone.remembered})).reason == Reason.NO_SURVIVING_ARENA


def emptied(view: JobView, *members: str, **changes: object) -> JobView:
    """Those agents hold nothing."""
    for member in members:
        view = with_report(view, m(member), generations=(), **changes)
    return view


SMALL = {"flaws": (Flaw(reason="ArenaDoesNotFit", arena_bytes=1 << 29),)}
TWO = {"replicas": 2}
NOBODY_KEPT = emptied(a_job(**TWO), "0/0", "1/0", **SMALL)


@pytest.mark.parametrize(
    ("view", "reason", "named"),
    [
        pytest.param(
            with_followers(ended(NOBODY_KEPT, "1/0")),
            Reason.NOTHING_KEPT,
            "arena-size: 512Mi; 1/0 is not protected",
            id="a trainer crashed and no arena is large enough",
        ),
        pytest.param(
            with_followers(with_new_pod(ended(NOBODY_KEPT, "1/0"), m("1/0"))),
            Reason.NOTHING_KEPT,
            "though the pods live: 0/0 is not protected",
            id="one pod is new, and the other never kept a state",
        ),
        pytest.param(
            with_followers(with_new_pod(emptied(ended(a_job(**TWO), "1/0"), "0/0"), m("1/0"))),
            Reason.NO_SURVIVING_ARENA,
            "is gone",
            id="the only pod that held a state is gone",
        ),
        pytest.param(
            with_followers(ended(emptied(a_job(**TWO), "0/0", "1/0"))),
            Reason.NOTHING_KEPT,
            "0/0 kept none; 1/0 kept none",
            id="nobody has committed yet, and nobody says why",
        ),
        pytest.param(
            replaced("0/0", "1/0", **TWO).model_copy(update={"heard": replaced("0/0", "1/0", **TWO).heard[2:]}),
            Reason.NO_SURVIVING_ARENA,
            "is gone",
            id="all pods are new, and nothing is known of those before",
        ),
        pytest.param(
            emptied(a_new_job(**TWO), "0/0", "1/0", epoch_seen=3).model_copy(
                update={"epoch": EpochRecord(number=3, rung=None)}
            ),
            Reason.NOTHING_KEPT,
            "0/0 kept none",
            id="the records were lost, and the agents took part in an epoch",
        ),
    ],
)
def test_that_nobody_kept_a_state_is_not_that_its_holders_are_gone(view, reason, named):
    point = point_of(view)
    assert (point.step, point.rung, point.reason) == (None, Rung.CHECKPOINT, reason)
    assert named in point.message


def test_of_a_pod_that_is_not_heard_nobody_knows_what_it_kept():
    view = emptied(with_followers(ended(a_job(**TWO))), "0/0", "1/0")
    view = view.model_copy(update={"heard": view.heard[1:]})
    assert "the agent of 0/0 is not heard; 1/0 kept none" in point_of(view).message


UNREAD = {"state_digest": None}


@pytest.mark.parametrize(
    ("view", "waits"),
    [
        pytest.param(holding(ALL_WAIT, "1/0", 10, **UNREAD), True, id="one is still reading"),
        pytest.param(holding(replaced("0/0", "1/0"), "2/0", 10, **UNREAD), True, id="the only holder is still reading"),
        pytest.param(holding(ALL_WAIT, "1/0", 8, **UNREAD), False, id="an old step is still being read"),
    ],
)
def test_a_reading_that_may_still_end_is_waited_for(view, waits):
    if waits:
        assert wait_of(view).reason == Reason.DIGEST_PENDING
        assert wait_of(view).until == NOW - 1 + 30
    else:
        assert point_of(view).step == 10


def test_a_reading_that_never_ends_is_given_up():
    view = holding(replaced("0/0", "1/0"), "2/0", 10, **UNREAD)
    view = view.model_copy(update={"heard": tuple(h.model_copy(update={"at": NOW + 60}) for h in view.heard)})
    assert point_of(view, NOW + 60).reason == Reason.NO_ELIGIBLE_DONOR


def test_a_trainer_that_was_slow_to_start_is_given_the_time_of_its_own_reading():
    view = ALL_WAIT
    for each in ("0/0", "1/0", "2/0"):
        view = holding(view, each, 10, **UNREAD)
    late = {"at": NOW + 300, "trainer_since": NOW + 299}
    view = view.model_copy(update={"heard": tuple(each.model_copy(update=late) for each in view.heard)})
    wait = wait_of(view, NOW + 300)
    assert (wait.reason, wait.until) == (Reason.DIGEST_PENDING, NOW + 299 + 30)


def test_of_several_readings_the_one_that_must_end_first_is_waited_for():
    view = holding(holding(replaced("1/0"), "0/0", 10, **UNREAD), "2/0", 10, **UNREAD)
    wait = wait_of(with_heard(view, m("0/0"), trainer_since=NOW))
    assert (wait.reason, wait.until) == (Reason.DIGEST_PENDING, NOW - 1 + 30)
    assert "2/0" in wait.message


def test_a_live_pod_that_this_leader_has_not_heard_may_hold_anything():
    view = ALL_WAIT.model_copy(update={"leader_since": NOW - 1, "heard": ALL_WAIT.heard[1:]})
    wait = wait_of(view)
    assert (wait.reason, wait.until) == (Reason.NOT_HEARD_FROM, NOW + 9)
    heard_again = view.model_copy(update={"heard": tuple(h.model_copy(update={"at": NOW + 9}) for h in view.heard)})
    assert point_of(heard_again, NOW + 9).step == 10
    finished = with_pod(ALL_WAIT, m("0/0"), finished=True)
    finished = finished.model_copy(update={"leader_since": NOW - 1, "heard": finished.heard[1:]})
    assert point_of(finished).step == 10


@pytest.mark.parametrize(
    ("view", "waits"),
    [
        pytest.param(holding(ALL_WAIT, "2/0", 11), True, id="it may hold a higher step"),
        pytest.param(keeping(keeping(replaced("1/0"), "0/0"), "2/0"), True, id="it may spare a fallback"),
        pytest.param(ALL_WAIT, False, id="the highest step does not need it"),
    ],
)
def test_no_step_is_given_up_while_an_agent_is_silent(view, waits):
    view = with_heard(view, m("0/0"), at=NOW - 6)
    if waits:
        assert wait_of(view).reason == Reason.HEARTBEAT_STALE
    else:
        assert point_of(view).step == 10


def test_a_future_that_the_job_went_back_behind_is_never_restored():
    view = holding(ALL_WAIT, "1/0", 12, epoch=1)
    view = view.model_copy(update={"epoch": view.epoch.model_copy(update={"number": 2, "step": 9})})
    assert point_of(view).step == 9
    unknown = view.model_copy(update={"epoch": view.epoch.model_copy(update={"rung": None, "step": None})})
    assert point_of(unknown).step == 10


def test_after_a_fallback_nothing_older_is_restored():
    view = ALL_WAIT.model_copy(
        update={"epoch": ALL_WAIT.epoch.model_copy(update={"number": 2, "rung": Rung.CHECKPOINT})}
    )
    assert point_of(view).reason == Reason.NOTHING_KEPT
    assert "0/0 has kept no step since epoch 2 began; 1/0 has" in point_of(view).message
    assert point_of(holding(view, "1/0", 3, epoch=2)).reason == Reason.PRIVATE_STATE_LOST
    assert point_of(holding(view, "1/0", 10, epoch=None)).step == 10


def test_of_two_seals_of_one_step_the_read_and_the_later_one_counts():
    first, second = digest_of(0, 10, "old"), digest_of(0, 10)
    generations = (
        a_generation(m("1/0"), 10, epoch=1, state_digest=second),
        a_generation(m("1/0"), 10, epoch=0, state_digest=first),
        a_generation(m("1/0"), 10, epoch=1, state_digest=None),
    )
    held = at(with_report(ALL_WAIT, m("1/0"), generations=generations), NOW)
    assert held.generations(held.places[m("1/0")].report)[10].state_digest == second


def test_a_pod_lost_a_moment_ago_still_decides_a_tie():
    view = holding(with_new_pod(ended(a_job(), "1/0"), m("1/0")), "2/0", 10, state_digest=digest_of(0, 10, "bad"))
    assert set(point_of(with_followers(view)).ballots[0].accepted) == {"u0/0"}


def test_a_place_without_a_pod_holds_nothing():
    moment = at(without_pod(ALL_WAIT, m("1/0")), NOW)
    assert point_of(ALL_WAIT).holds(moment.places[m("1/0")]) is None
    assert RestorePoint(10, Rung.PEER, Reason.EVERYONE_WAITS, "").holds(moment.places[m("0/0")]) is None


def test_who_is_being_deleted_has_a_say_in_whose_bytes_are_right():
    damaged = holding(holding(ALL_WAIT, "0/0", 10, state_digest="e" * 32), "1/0")
    shared = Passed(step=1, epoch=1, schema_digest=SCHEMA, state_digest=digest_of(0, 1))
    for member in ("0/0", "2/0"):
        damaged = with_report(damaged, m(member), passed=(shared,))
    point = point_of(with_pod(damaged, m("2/0"), terminating=True))
    assert (point.step, point.reason) == (None, Reason.NO_ELIGIBLE_DONOR)
