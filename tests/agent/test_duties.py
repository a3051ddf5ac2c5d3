"""What an agent must do is a comparison of what it sees with what it was ordered."""

import dataclasses
import itertools

import pytest

from checkpointheal.agent.duties import (
    Answer,
    EndTrainer,
    ExplainWait,
    Fetch,
    FetchPrivate,
    KillTrainer,
    LetLeave,
    Sight,
    StopFetch,
    duties,
)
from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.layout import Identity
from checkpointheal.contract.orders import Assignment, EpochOrder, Orders, Peer
from checkpointheal.contract.report import TrainerFacts

BUDDY = Peer(member=MemberId(replica=2), pod="trainer-2", pod_uid="u2", endpoint=Endpoint(host="127.0.0.1", port=1))


def state_at(step: int) -> Identity:
    return Identity(step=step, schema_digest="a" * 32, state_digest=f"{step:032x}")


def waiting(**facts: object) -> TrainerFacts:
    return TrainerFacts(state="waiting", incarnation="t1", request=1, **facts)


def training(epoch: int) -> TrainerFacts:
    return TrainerFacts(state="training", incarnation="t1", request=1, epoch=epoch)


def begun(epoch: int, step: int | None, **more: object) -> Orders:
    return Orders(revision=1, epoch=EpochOrder(epoch=epoch, over=False, step=step, rung="OwnMemory"), **more)


def over(epoch: int) -> Orders:
    return Orders(
        revision=1, epoch=EpochOrder(epoch=epoch, over=True, reason="PodReplaced", message="trainer-2 is another pod")
    )


def assignment(attempt: int) -> Assignment:
    return Assignment(
        heal="h1",
        attempt=attempt,
        recipient=BUDDY,
        donors=(BUDDY,),
        step=7,
        schema_digest="a" * 32,
        state_digest="b" * 32,
        deadline=30,
    )


def test_without_orders_nothing_is_due():
    assert duties(Sight(trainer=waiting()), Orders(revision=0)) == ()


def test_a_waiting_trainer_gets_the_slot_that_holds_the_restore_step():
    sight = Sight(trainer=waiting(), slots={0: state_at(6), 1: state_at(7)}, private_steps=frozenset({6, 7}))
    orders = begun(3, 6)
    assert duties(sight, orders) == (Answer(orders.epoch, 0, state_at(6)),)


@pytest.mark.parametrize("own", [0, 1], ids=["in the first slot", "in the second slot"])
@pytest.mark.parametrize("sent", [True, False], ids=["a peer sent others", "nobody sent any"])
def test_bytes_that_a_peer_sent_stand_before_the_members_own_of_that_step(own, sent):
    received = Identity(step=7, schema_digest="a" * 32, state_digest="b" * 32)
    slots = {own: state_at(7), 1 - own: received}
    sight = Sight(trainer=waiting(), slots=slots, private_steps=frozenset({7}), attempt_seen=5)
    orders = begun(3, 7, assignment=assignment(5) if sent else None)
    assert duties(sight, orders) == (Answer(orders.epoch, *((1 - own, received) if sent else (0, slots[0]))),)


def test_a_waiting_trainer_is_told_that_there_is_no_step():
    orders = begun(1, None)
    assert duties(Sight(trainer=waiting()), orders) == (Answer(orders.epoch, None, None),)


def test_a_step_that_does_not_lie_here_is_not_promised():
    assert duties(Sight(trainer=waiting(), slots={0: state_at(5)}), begun(3, 6)) == ()


def test_the_own_private_part_is_fetched_before_the_answer():
    sight = Sight(trainer=waiting(), slots={0: state_at(6)})
    orders = begun(3, 6, private_from=(BUDDY,))
    assert duties(sight, orders) == (FetchPrivate(6, (BUDDY,)),)


def test_no_step_is_promised_without_its_private_part_though_nobody_says_who_keeps_it():
    assert duties(Sight(trainer=waiting(), slots={0: state_at(6)}), begun(3, 6)) == ()


def test_whose_private_part_begins_is_answered_without_one():
    sight = Sight(trainer=waiting(), slots={0: state_at(6)})
    orders = begun(3, 6)
    orders = orders.model_copy(update={"epoch": orders.epoch.model_copy(update={"private_begins": True})})
    assert duties(sight, orders) == (Answer(orders.epoch, 0, state_at(6)),)


def behind(step: int, part: int, **more: object) -> Orders:
    orders = begun(3, step, **more)
    return orders.model_copy(update={"epoch": orders.epoch.model_copy(update={"private_step": part})})


def test_where_the_order_names_an_earlier_private_part_that_one_is_waited_for():
    at_hand = Sight(trainer=waiting(), slots={0: state_at(6)}, private_steps=frozenset({5}))
    orders = behind(6, 5, private_from=(BUDDY,))
    assert duties(at_hand, orders) == (Answer(orders.epoch, 0, state_at(6)),)
    for private in ({4}, {4, 6}, set()):
        lacking = Sight(trainer=waiting(), slots={0: state_at(6)}, private_steps=frozenset(private))
        assert duties(lacking, orders) == (FetchPrivate(5, (BUDDY,)),)
        assert duties(lacking, behind(6, 5)) == ()
    fetching = Sight(trainer=waiting(), slots={0: state_at(6)}, fetching_private=5)
    assert duties(fetching, orders) == ()


def test_an_agent_that_does_not_know_the_word_waits_for_the_part_of_the_very_step():
    """The order of an operator that asked for too much, as an older build reads it."""
    said = behind(6, 5, private_from=(BUDDY,))
    older = said.model_copy(update={"epoch": said.epoch.model_copy(update={"private_step": None})})
    sight = Sight(trainer=waiting(), slots={0: state_at(6)}, private_steps=frozenset({5}))
    assert duties(sight, older) == (FetchPrivate(6, (BUDDY,)),)


def test_a_private_part_is_fetched_once():
    sight = Sight(trainer=waiting(), slots={0: state_at(6)}, fetching_private=6)
    assert duties(sight, begun(3, 6, private_from=(BUDDY,))) == ()


@pytest.mark.parametrize(("meant", "due"), [(None, True), ("t1", True), ("t0", False)])
def test_an_answer_meant_for_another_start_of_the_trainer_is_not_given(meant, due):
    orders = Orders(revision=1, epoch=EpochOrder(epoch=3, over=False, step=None, rung="Fresh", incarnation=meant))
    assert duties(Sight(trainer=waiting()), orders) == ((Answer(orders.epoch, None, None),) if due else ())


@pytest.mark.parametrize("answered", [3, 4])
def test_an_epoch_that_was_answered_is_not_answered_again(answered):
    assert duties(Sight(trainer=waiting(), epoch_answered=answered), begun(3, None)) == ()


@pytest.mark.parametrize("state", ["absent", "starting", "training", "stopped", "done"])
def test_only_a_waiting_trainer_is_answered(state):
    assert duties(Sight(trainer=TrainerFacts(state=state)), begun(3, None)) == ()


@pytest.mark.parametrize(
    ("state", "trainer_epoch", "told"),
    list(itertools.product(["absent", "waiting", "done", "training", "starting", "stopped"], [0, 2, 3, 4], [2, 3])),
)
def test_a_trainer_is_ended_once_and_only_in_an_epoch_that_is_over(state, trainer_epoch, told):
    sight = Sight(trainer=TrainerFacts(state=state, epoch=trainer_epoch), epoch_told_over=told)
    orders = over(3)
    due = state in ("training", "starting", "stopped") and trainer_epoch in (2, 3) and told < 3
    assert duties(sight, orders) == ((EndTrainer(orders.epoch),) if due else ())


@pytest.mark.parametrize(
    ("state", "trainer_epoch", "told", "asked", "due"),
    [
        ("training", 4, 0, True, True),
        ("training", 4, 3, True, True),
        ("training", 4, 4, True, False),
        ("training", 3, 0, True, False),
        ("training", 4, 0, False, False),
        ("waiting", 4, 0, True, False),
    ],
)
def test_a_trainer_is_asked_once_to_leave_the_very_epoch_that_it_is_in(state, trainer_epoch, told, asked, due):
    orders = Orders(revision=1, epoch=EpochOrder(epoch=4, over=False, leave=asked))
    trainer = training(trainer_epoch).model_copy(update={"state": state})
    sight = Sight(trainer=trainer, epoch_told_to_leave=told, epoch_answered=4)
    assert duties(sight, orders) == ((LetLeave(orders.epoch),) if due else ())


def test_a_new_assignment_is_fetched():
    assert duties(Sight(attempt_seen=4), Orders(revision=1, assignment=assignment(5))) == (Fetch(assignment(5)),)


@pytest.mark.parametrize("attempt", [1, 4])
def test_an_attempt_that_is_not_higher_than_any_seen_is_ignored(attempt):
    assert duties(Sight(attempt_seen=4), Orders(revision=1, assignment=assignment(attempt))) == ()


def test_a_higher_attempt_ends_the_one_under_way():
    sight = Sight(attempt_seen=4, fetching=assignment(4))
    assert duties(sight, Orders(revision=1, assignment=assignment(5))) == (
        StopFetch(assignment(4)),
        Fetch(assignment(5)),
    )


def test_a_trainer_without_a_policy_is_told_once_per_request_why_it_waits():
    withdrawn = Orders(revision=1, withdrawn=True)
    (told,) = duties(Sight(trainer=waiting()), withdrawn)
    assert (told.request, told.reason, told.hold) == (1, "NoPolicy", False)
    assert told.message == "no CheckpointHeal selects this pod: apply one; waiting"
    assert duties(Sight(trainer=waiting(), explained=told), withdrawn) == ()
    assert duties(Sight(trainer=training(3)), withdrawn) == ()
    assert duties(Sight(trainer=waiting()), Orders(revision=2)) == ()


HOLD = Orders(revision=1, hold=True)
HELD = Orders(revision=2, hold=True, reason="Held", message="no arena survived")
SET_ASIDE = Orders(revision=3, hold=True, withdrawn=True, reason="LayoutDiffers", message="they differ")
PATIENT = ExplainWait(1, "Hold", "fallback is Hold: restore() waits for its answer for as long as it takes", hold=True)
TOLD_HELD = ExplainWait(1, "Held", "no arena survived", hold=True)
TOLD_ASIDE = ExplainWait(1, "LayoutDiffers", "they differ", hold=True)
RELEASED = ExplainWait(1, "Released", "the job is not held any more: the budget of restore() counts from now on")
NOTHING_KNOWN, FREE = Orders(revision=0), Orders(revision=9)


@pytest.mark.parametrize(
    ("explained", "orders", "due"),
    [
        (None, HOLD, PATIENT),
        (PATIENT, HOLD, None),
        (PATIENT, HELD, TOLD_HELD),
        (TOLD_HELD, HELD, None),
        (TOLD_HELD, HOLD, PATIENT),
        (TOLD_HELD, SET_ASIDE, TOLD_ASIDE),
        (TOLD_HELD, FREE, RELEASED),
        (RELEASED, FREE, None),
        (RELEASED, HELD, TOLD_HELD),
        (None, FREE, None),
        (dataclasses.replace(TOLD_HELD, request=0), FREE, None),
        (dataclasses.replace(TOLD_HELD, request=0), HELD, TOLD_HELD),
        (TOLD_HELD, NOTHING_KNOWN, None),
    ],
)
def test_a_trainer_hears_whether_its_budget_counts_whenever_that_or_the_reason_changes(explained, orders, due):
    assert duties(Sight(trainer=waiting(), explained=explained), orders) == ((due,) if due else ())
    for state in ("absent", "starting", "training", "stopped", "done"):
        assert duties(Sight(trainer=TrainerFacts(state=state, request=1), explained=explained), orders) == ()


@pytest.mark.parametrize(("orders", "due"), [(NOTHING_KNOWN, ()), (FREE, (RELEASED,)), (HELD, (TOLD_HELD,))])
def test_an_agent_that_has_just_started_goes_by_its_trainers_word_and_releases_only_by_order(orders, due):
    assert duties(Sight(trainer=waiting(), held=True), orders) == due


def test_an_answer_needs_no_explanation_beside_it():
    orders = begun(3, None, hold=True)
    assert duties(Sight(trainer=waiting()), orders) == (Answer(orders.epoch, None, None),)
    assert duties(Sight(trainer=waiting(), held=True), begun(3, None)) == (Answer(begun(3, None).epoch, None, None),)


def test_a_withdrawn_assignment_ends_the_one_under_way():
    assert duties(Sight(attempt_seen=4, fetching=assignment(4)), Orders(revision=1)) == (StopFetch(assignment(4)),)


@pytest.mark.parametrize(("incarnation", "due"), [("t1", True), ("t0", False)])
def test_only_the_named_start_of_the_trainer_is_killed(incarnation, due):
    orders = Orders(revision=1, restart_trainer=incarnation)
    assert duties(Sight(trainer=training(3)), orders) == ((KillTrainer("t1", ""),) if due else ())
