"""Who is lost to an epoch, from when on; and what is worth knowing though it decides nothing."""

from dataclasses import replace

import pytest

from builders_core import (
    BEGAN,
    NOW,
    a_job,
    a_pod,
    ended,
    m,
    with_crash,
    with_heard,
    with_new_pod,
    with_pod,
    with_policy,
    with_report,
    with_return,
    with_trainer,
    without_pod,
)
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import TrainerExit
from checkpointheal_operator.core.amiss import missing
from checkpointheal_operator.core.decide import decide
from checkpointheal_operator.core.findings import findings
from checkpointheal_operator.core.losses import as_of, how_it_ended, losses, stuck
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.view import JobView

MEMBER = m("1/0")
FOREVER = float("-inf")
JOB = a_job()
CLEAN = TrainerExit(incarnation="t1/0", epoch=1, code=0)
KILLED = TrainerExit(incarnation="t1/0", epoch=1, signal=9)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param(JOB, [], id="all train"),
        pytest.param(with_heard(JOB, MEMBER, at=0.0), [], id="a silent agent is no loss"),
        pytest.param(JOB.model_copy(update={"heard": ()}), [], id="nobody was heard by this leader yet"),
        pytest.param(with_pod(JOB, MEMBER, terminating=True), [], id="a pod that is being deleted still trains"),
        pytest.param(without_pod(JOB, MEMBER), [(Reason.POD_LOST, NOW + 6)], id="a pod is gone and was just heard"),
        pytest.param(
            without_pod(JOB, MEMBER).model_copy(update={"heard": ()}),
            [(Reason.POD_LOST, 700.0 + 10)],
            id="a pod is not told of, and its agent has not had its first word with this leader yet",
        ),
        pytest.param(with_new_pod(JOB, MEMBER), [(Reason.POD_REPLACED, FOREVER)], id="another pod has the place"),
        pytest.param(with_trainer(JOB, MEMBER, state="absent"), [(Reason.TRAINER_GONE, FOREVER)], id="a trainer ended"),
        pytest.param(with_crash(JOB, MEMBER), [(Reason.TRAINER_GONE, FOREVER)], id="a trainer came back"),
        pytest.param(
            with_report(with_trainer(JOB, MEMBER, state="absent", incarnation=None), MEMBER, agent="again"),
            [(Reason.TRAINER_GONE, BEGAN + 6)],
            id="a restarted agent has not heard its trainer yet",
        ),
        pytest.param(
            with_report(
                with_trainer(JOB, MEMBER, state="absent", incarnation=None, exit=KILLED), MEMBER, agent="again"
            ),
            [(Reason.TRAINER_GONE, FOREVER)],
            id="a restarted agent was told that its trainer is dead",
        ),
        pytest.param(
            with_heard(
                with_report(with_trainer(JOB, MEMBER, state="absent", incarnation=None), MEMBER, agent="again"),
                MEMBER,
                at=NOW - 6,
            ),
            [],
            id="a restarted agent fell silent before it heard its trainer",
        ),
        pytest.param(
            with_trainer(JOB, MEMBER, state="stopped"),
            [(Reason.TRAINER_STOPPED, BEGAN + 5)],
            id="a trainer stands still",
        ),
        pytest.param(with_trainer(JOB, MEMBER, epoch=7), [(Reason.NOT_IN_EPOCH, FOREVER)], id="it trains elsewhere"),
        pytest.param(with_trainer(JOB, MEMBER, state="starting"), [], id="it gave up waiting and starts by itself"),
        pytest.param(
            with_trainer(JOB, MEMBER, state="waiting"),
            [(Reason.JOIN_OVERDUE, BEGAN + 180)],
            id="it has not taken its answer yet",
        ),
        pytest.param(
            with_trainer(JOB, MEMBER, state="waiting").model_copy(update={"leader_since": NOW - 1}),
            [(Reason.JOIN_OVERDUE, NOW - 1 + 180)],
            id="it has its whole time with the next leader, whose clock may be ahead",
        ),
        pytest.param(
            with_heard(with_trainer(JOB, MEMBER, state="waiting"), MEMBER, at=NOW - 6),
            [],
            id="it may have taken its answer since its agent fell silent",
        ),
        pytest.param(
            with_trainer(JOB, MEMBER, state="waiting", request=2), [(Reason.TRAINER_WAITS, FOREVER)], id="it asks again"
        ),
        pytest.param(with_trainer(JOB, MEMBER, state="done"), [], id="it is done"),
        pytest.param(with_trainer(JOB, MEMBER, state="absent", exit=CLEAN), [], id="it ended with code 0"),
        pytest.param(with_pod(JOB, MEMBER, finished=True), [], id="its pod ran to its end"),
        pytest.param(
            without_pod(with_trainer(JOB, MEMBER, state="done"), MEMBER), [], id="it was done when its pod went"
        ),
    ],
)
def test_a_loss_is_a_trainer_or_a_pod_that_left(view, expected):
    found = losses(at(view, NOW))
    assert [(loss.member, loss.reason, loss.at) for loss in found] == [(MEMBER, *each) for each in expected]


def test_a_member_that_the_job_grew_by_waits_for_the_next_epoch():
    view = with_policy(a_job(replicas=2), replicas=3)
    assert losses(at(view, NOW)) == ()
    grown = with_new_pod(view, m("2/0"))
    assert [(loss.member, loss.reason) for loss in losses(at(grown, NOW))] == [(m("2/0"), Reason.MEMBERSHIP_CHANGED)]


def test_a_member_that_the_job_shrank_by_is_lost_once_its_pod_is():
    view = with_policy(a_job(), replicas=2)
    assert losses(at(view, NOW)) == ()
    assert [loss.member for loss in losses(at(without_pod(view, m("2/0")), NOW + 6))] == [m("2/0")]


def test_losses_come_in_the_order_of_members():
    view = with_crash(with_new_pod(JOB, m("2/0")), m("0/0"))
    assert [loss.member for loss in losses(at(view, NOW))] == [m("0/0"), m("2/0")]


def test_a_trainer_that_stands_still_is_named_until_it_was_told_to_be_killed():
    view = with_trainer(JOB, MEMBER, state="stopped")
    assert [loss.restart for loss in stuck(at(view, NOW))] == ["t1/0"]
    told = view.model_copy(update={"epoch": view.epoch.model_copy(update={"restarts": ("t1/0",)})})
    assert stuck(at(told, NOW)) == ()


OVER = ended(JOB, "2/0", ended_at=BEGAN)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param(OVER, [BEGAN + 15] * 3, id="nobody ends"),
        pytest.param(ended(OVER, "2/0", ended_at=NOW - 1), [NOW + 14] * 3, id="the epoch ended just now"),
        pytest.param(
            with_heard(OVER, MEMBER, trainer_since=NOW - 2), [BEGAN + 15, NOW + 13, BEGAN + 15], id="told late"
        ),
        pytest.param(
            with_heard(OVER, MEMBER, agent_since=NOW - 2), [BEGAN + 15, NOW + 13, BEGAN + 15], id="by a new agent"
        ),
        pytest.param(with_heard(OVER, MEMBER, at=0.0), [BEGAN + 15] * 2, id="nobody hears one"),
        pytest.param(with_trainer(OVER, MEMBER, state="waiting"), [BEGAN + 15] * 2, id="one has ended and waits"),
        pytest.param(with_trainer(OVER, MEMBER, epoch=0), [BEGAN + 15] * 2, id="one was never in an epoch"),
        pytest.param(with_trainer(OVER, MEMBER, epoch=7), [BEGAN + 15] * 2, id="one is in an epoch that nobody knows"),
        pytest.param(ended(OVER, "2/0", restarts=("t1/0",)), [NOW - 1 + 15] * 2, id="one was told to be killed"),
        pytest.param(ended(OVER, "2/0", ended_at=None), [], id="nobody knows when the epoch ended"),
        pytest.param(JOB, [], id="the epoch is not over"),
    ],
)
def test_a_trainer_that_does_not_end_with_its_epoch_is_killed_some_time_after_it_was_to_end_itself(view, expected):
    found = stuck(at(view, NOW))
    assert [loss.at for loss in found] == expected
    assert {loss.reason for loss in found} <= {Reason.END_OVERDUE}


def that_should_be_gone(for_: float) -> JobView:
    """Its pod's deletion should have been over so long ago."""
    return with_pod(JOB, MEMBER, terminating=True, ends_at=NOW - for_)


def unheard(view: JobView) -> JobView:
    return view.model_copy(update={"heard": tuple(h for h in view.heard if h.report.member != MEMBER)})


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param(JOB, [], id="nothing"),
        pytest.param(without_pod(JOB, MEMBER), [Reason.MEMBER_MISSING], id="no pod"),
        pytest.param(
            with_pod(without_pod(JOB, MEMBER), m("0/0"), holds_back=True, seen_since=799.0),
            [Reason.HELD_BY_ORDERED_READY],
            id="no pod, and one before it is not ready",
        ),
        pytest.param(
            with_pod(without_pod(JOB, MEMBER), m("0/0"), holds_back=True),
            [Reason.MEMBER_MISSING],
            id="no pod, and one before it is not ready, but was made with a later one",
        ),
        pytest.param(
            with_pod(without_pod(JOB, MEMBER), m("0/0"), holds_back=True, seen_since=NOW),
            [Reason.MEMBER_MISSING],
            id="no pod, and one before it is not ready, but younger than a later one",
        ),
        pytest.param(
            with_pod(without_pod(JOB, MEMBER), m("2/0"), holds_back=True),
            [Reason.MEMBER_MISSING],
            id="no pod, and one behind it is not ready",
        ),
        pytest.param(with_pod(JOB, MEMBER, terminating=True), [Reason.DRAINING], id="its pod is being deleted"),
        pytest.param(that_should_be_gone(for_=1000), [Reason.DRAINING], id="it should be gone, and its agent speaks"),
        pytest.param(
            with_heard(that_should_be_gone(for_=29), MEMBER, at=NOW - 40),
            [Reason.DRAINING, Reason.AGENT_SILENT],
            id="it is being cleared away",
        ),
        pytest.param(
            with_heard(that_should_be_gone(for_=30), MEMBER, at=NOW - 40), [Reason.HELD_BY_LOST_NODE], id="a lost node"
        ),
        pytest.param(unheard(that_should_be_gone(for_=30)), [Reason.HELD_BY_LOST_NODE], id="and a leader that is new"),
        pytest.param(
            unheard(that_should_be_gone(for_=30)).model_copy(update={"leader_since": NOW - 9}),
            [Reason.DRAINING, Reason.NOT_HEARD_FROM],
            id="and a leader that has just begun",
        ),
        pytest.param(
            unheard(JOB),
            [Reason.NOT_HEARD_FROM],
            id="never heard",
        ),
        pytest.param(with_heard(JOB, MEMBER, at=NOW - 6), [Reason.AGENT_SILENT], id="silent"),
        pytest.param(with_report(JOB, MEMBER, conditions=("B", "A")), [Reason.UNPROTECTED] * 2, id="not protected"),
        pytest.param(with_report(JOB, MEMBER, conditions=("NoPolicy",)), [], id="its latest orders are on their way"),
        pytest.param(with_pod(with_trainer(JOB, MEMBER, state="done"), MEMBER, terminating=True), [], id="done"),
    ],
)
def test_a_finding_says_what_is_amiss(view, expected):
    found = findings(at(view, NOW))
    assert [(each.member, each.reason) for each in found] == [(MEMBER, reason) for reason in expected]


def test_the_seats_of_one_pod_are_no_later_pods():
    view = with_pod(with_pod(without_pod(JOB, m("2/0")), m("0/0"), holds_back=True), MEMBER, uid="u0/0.1")
    assert missing(at(view, NOW), m("2/0"))[0] == Reason.HELD_BY_ORDERED_READY


class Counted(dict[MemberId, Place]):
    """Places, and how often one was asked for."""

    asked = 0

    def __getitem__(self, member: MemberId) -> Place:
        self.asked += 1
        return super().__getitem__(member)


@pytest.mark.parametrize("holds_back", [False, True])
def test_a_job_of_which_nobody_is_there_is_looked_through_once_not_once_for_each_member(holds_back):
    first = a_pod(m("0/0"), holds_back=holds_back)
    moment = at(JobView(job="demo", policy=Policy(replicas=300), leader_since=0, pods=(first,)), NOW)
    counted = Counted(moment.places)
    found = findings(replace(moment, places=counted))
    assert {each.reason for each in found[1:]} == {
        Reason.HELD_BY_ORDERED_READY if holds_back else Reason.MEMBER_MISSING
    }
    assert len(found) == 300
    assert counted.asked <= 2 * 300


@pytest.mark.parametrize(
    ("exit_", "words"),
    [
        (None, "how is not known yet"),
        (TrainerExit(incarnation="t", epoch=1, signal=11), "signal 11"),
        (TrainerExit(incarnation="t", epoch=1, code=3), "code 3"),
    ],
)
def test_an_end_is_told_in_words(exit_, words):
    assert how_it_ended(exit_) == words


def test_a_return_is_told_with_how_the_earlier_life_ended():
    (loss,) = losses(at(with_return(with_crash(JOB, MEMBER), MEMBER), NOW))
    assert loss.message == "the trainer of 1/0 ended: signal 9"


FORGETFUL = with_report(with_trainer(JOB, MEMBER, state="absent", incarnation=None), MEMBER, agent="again")


@pytest.mark.parametrize(
    ("view", "before", "then"),
    [
        pytest.param(
            without_pod(JOB, MEMBER),
            "no pod holds the place of 1/0 now",
            "the pod of 1/0 is gone and its agent is silent",
            id="a pod is gone",
        ),
        pytest.param(
            with_heard(with_trainer(JOB, MEMBER, state="stopped"), MEMBER, trainer_since=NOW),
            "the trainer of 1/0 stands still",
            "the trainer of 1/0 stands still for over 5 s: it is to be restarted",
            id="a trainer is stopped",
        ),
        pytest.param(
            with_trainer(JOB, MEMBER, state="waiting"),
            "1/0 has its answer and is loading it",
            "the trainer of 1/0 did not take its answer within 180 s",
            id="a trainer loads",
        ),
        pytest.param(
            with_heard(FORGETFUL, MEMBER, agent_since=NOW),
            "the agent of 1/0 was started anew, and has not heard of its trainer yet",
            "the trainer of 1/0 ended: how is not known yet",
            id="an agent was started anew",
        ),
    ],
)
def test_a_loss_that_is_only_to_come_is_not_told_as_one_that_has_happened(view: JobView, before: str, then: str):
    (loss,) = losses(at(view, NOW))
    assert as_of(NOW, loss)[1] == before == decide(view, NOW).message
    assert as_of(loss.at, loss) == (loss.reason, then)


def test_nor_is_a_trainer_that_may_still_end_by_itself():
    view = ended(JOB, "2/0", ended_at=NOW)
    (loss, *_) = stuck(at(view, NOW))
    assert as_of(NOW, loss) == (Reason.STILL_TRAINING, "the trainer of 0/0 has not ended yet")
