"""Whether a member was lost itself, or only followed one that was."""

import itertools

import pytest

from builders_core import (
    NOW,
    a_job,
    a_new_job,
    ended,
    m,
    report_of,
    with_crash,
    with_followers,
    with_new_pod,
    with_pod,
    with_return,
    with_trainer,
    without_pod,
)
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import TrainerExit
from checkpointheal_operator.core.causes import crashes, why_lost
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.reasons import Cause, Reason
from checkpointheal_operator.core.view import JobView

MEMBER = m("1/0")


def lost(view: JobView, member: str = "1/0") -> Cause | Reason | None:
    return why_lost(at(view, NOW), m(member))


def over(*members: str) -> JobView:
    return ended(a_job(), *members)


def of_revisions(before: str, after: str) -> JobView:
    """Another pod has its place; the revisions of its template and of the one before."""
    view = over("1/0")
    known = tuple(each.model_copy(update={"revision": before}) for each in view.epoch.members)
    view = view.model_copy(update={"epoch": view.epoch.model_copy(update={"members": known})})
    return with_pod(with_new_pod(view, MEMBER), MEMBER, revision=after)


@pytest.mark.parametrize(
    ("view", "cause"),
    [
        pytest.param(with_new_pod(over("1/0"), MEMBER), Cause.REPLACED, id="another pod has its place"),
        pytest.param(of_revisions("a", "a"), Cause.REPLACED, id="another pod of the same template"),
        pytest.param(of_revisions("a", "b"), Cause.ROLLED_OUT, id="a pod of another template"),
        pytest.param(of_revisions("", "b"), Cause.REPLACED, id="nobody knows which template it had"),
        pytest.param(of_revisions("a", ""), Cause.REPLACED, id="nobody knows which template it has"),
        pytest.param(with_return(over("1/0"), MEMBER, incarnation="t1/0"), None, id="the same life still waits"),
        pytest.param(a_new_job(), None, id="it was in no epoch"),
        pytest.param(without_pod(over("1/0"), MEMBER), None, id="nobody holds the place"),
        pytest.param(
            with_return(ended(a_job(), "1/0", restarts=("t1/0",)), MEMBER),
            Cause.STOPPED,
            id="it was killed for standing still",
        ),
        pytest.param(with_crash(over("1/0"), MEMBER), Cause.CRASHED, id="a signal ended it"),
        pytest.param(with_crash(over(), MEMBER), Cause.CRASHED, id="a signal ended it though another was blamed"),
        pytest.param(with_crash(over("1/0"), MEMBER, signal=None, code=75), Reason.FOLLOWED_PEER, id="it left as told"),
        pytest.param(with_crash(over("1/0"), MEMBER, signal=None, code=1), Cause.CRASHED, id="an error of its own"),
        pytest.param(
            with_crash(over("0/0"), MEMBER, signal=None, code=1),
            Reason.FOLLOWED_PEER,
            id="an error when another was lost",
        ),
        pytest.param(with_return(over("1/0"), MEMBER), Cause.CRASHED, id="nobody saw how the blamed one ended"),
        pytest.param(with_return(over("0/0"), MEMBER), Reason.FOLLOWED_PEER, id="nobody saw how a bystander ended"),
    ],
)
def test_a_cause_is_read_off_the_member_and_its_epoch(view, cause):
    assert lost(view) == cause


def test_a_signal_that_followed_the_word_is_no_crash():
    told = TrainerExit(incarnation="t1/0", epoch=1, signal=9, told=True)
    assert lost(with_return(over("1/0"), MEMBER, exit=told)) == Reason.FOLLOWED_PEER


def killed(view: JobView, member: MemberId, incarnation: str = "t0/0", state: str = "absent") -> JobView:
    """A signal ended a life of it, and no next one has begun since."""
    return with_trainer(view, member, state=state, exit=TrainerExit(incarnation=incarnation, epoch=1, signal=9))


def unheard(view: JobView, member: MemberId, leader_since: float = 0.0) -> JobView:
    """This leader never heard its agent."""
    uid = report_of(view, member).pod_uid
    heard = tuple(each for each in view.heard if each.report.pod_uid != uid)
    return view.model_copy(update={"heard": heard, "leader_since": leader_since})


PEERS = {
    "trains on": lambda view: view,
    "left as told": with_followers,
    "has no pod any more": lambda view: without_pod(view, m("0/0")),
    "has another pod": lambda view: with_new_pod(view, m("0/0")),
    "stood still": lambda view: view.model_copy(
        update={"epoch": view.epoch.model_copy(update={"restarts": ("t0/0",)})}
    ),
    "was killed by a signal": lambda view: with_crash(view, m("0/0")),
    "was killed and is not back yet": lambda view: killed(view, m("0/0")),
    "had a life before that was killed": lambda view: killed(view, m("0/0"), incarnation="t-1/0", state="training"),
    "goes with its pod": lambda view: with_pod(killed(view, m("0/0")), m("0/0"), terminating=True),
    "went with its pod, which is still there": lambda view: unheard(
        with_pod(view, m("0/0"), terminating=True), m("0/0")
    ),
    "trains on in a pod that is to go": lambda view: with_pod(view, m("0/0"), terminating=True),
    "has been silent for long": lambda view: unheard(view, m("0/0")),
    "raised an error too": lambda view: with_crash(view, m("0/0"), signal=None, code=1),
    "is done": lambda view: with_trainer(view, m("0/0"), state="done"),
}
OUTRIGHT = {
    "has no pod any more",
    "has another pod",
    "stood still",
    "was killed by a signal",
    "was killed and is not back yet",
    "goes with its pod",
    "went with its pod, which is still there",
}


@pytest.mark.parametrize("peer", PEERS)
def test_an_error_is_a_crash_only_where_no_peer_was_lost_outright(peer):
    view = with_crash(PEERS[peer](over("0/0", "1/0")), MEMBER, signal=None, code=1)
    assert lost(view) == (Reason.FOLLOWED_PEER if peer in OUTRIGHT else Cause.CRASHED)


def test_no_crash_is_told_before_every_peer_was_heard_that_may_have_been_lost_first():
    view = with_crash(over("0/0", "1/0"), MEMBER, signal=None, code=1)
    assert lost(unheard(view, m("0/0"), leader_since=NOW - 1)) is None
    assert lost(unheard(with_new_pod(view, m("0/0")), m("2/0"), leader_since=NOW - 1)) == Reason.FOLLOWED_PEER


def test_of_members_that_all_raised_errors_every_blamed_one_crashed():
    view = over("0/0", "1/0")
    for member in ("0/0", "1/0"):
        view = with_crash(view, m(member), signal=None, code=1)
    assert [lost(view, each) for each in ("0/0", "1/0")] == [Cause.CRASHED] * 2


def test_crashes_are_counted_by_member_step_and_life():
    heals = tuple(
        HealRecord(
            name=f"{recipient} {cause} {step} {life} {again}",
            recipient=m(recipient),
            pod_uid="u",
            agent="a",
            request=1,
            incarnation=life,
            cause=cause,
            crash_step=step,
            noticed_at=0,
            opened_at=0,
        )
        for recipient, cause, step, life, again in itertools.product(
            ("0/0", "1/0"), (Cause.CRASHED, Cause.REPLACED), (9, 10), ("t1", "t2", "t3"), (0, 1)
        )
    )
    assert crashes(heals, heals[0]) == 3
