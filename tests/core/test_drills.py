"""A drill is begun where nothing else matters, between every pair in turn, and changes no heal."""

from collections.abc import Callable

import pytest

from builders_core import (
    BEGAN,
    NOW,
    a_generation,
    a_job,
    a_new_job,
    decided,
    digest_of,
    ended,
    m,
    report_of,
    with_crash,
    with_heard,
    with_new_pod,
    with_pod,
    with_policy,
    with_report,
    with_trainer,
    without_pod,
)
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.orders import Drill
from checkpointheal.contract.report import DrillFacts, Flaw
from checkpointheal_operator.core.decide import decide
from checkpointheal_operator.core.drill_ends import LONGEST, SPARE_SECONDS
from checkpointheal_operator.core.drill_pairs import TRIED_PAIRS
from checkpointheal_operator.core.drill_record import DrillRecord
from checkpointheal_operator.core.drills import drill_without, next_drill, wakes_at
from checkpointheal_operator.core.epoch_record import EpochRecord
from checkpointheal_operator.core.heal_record import Remembered
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.orders import orders
from checkpointheal_operator.core.view import JobView

RECIPIENT, DONOR = m("0/0"), m("1/0")
PASSED = "0/0 was given step 10 by 1/0 and verified it: a heal would work"


def a_drilling_job(replicas: int = 3, ranks: int = 1, **policy: object) -> JobView:
    """All train, and every agent knows drills."""
    view = a_job(replicas, ranks, **policy)
    for member in view.policy.members():
        view = with_report(view, member, drills=True)
    return view


def asking(view: JobView, request: str = "one") -> JobView:
    return view.model_copy(update={"drill_asked": request})


def drilling(view: JobView, now: float = NOW) -> JobView:
    """Once the next drill is written down."""
    record = next_drill(view, now)
    assert record is not None
    return view.model_copy(update={"drill": record})


def begun(view: JobView | None = None) -> JobView:
    """A drill is under way: 0/0 receives from 1/0."""
    view = drilling(asking(view or a_drilling_job()))
    assert view.drill is not None
    assert view.drill.is_open, view.drill
    return view


def pair_of(record: DrillRecord | None) -> tuple[str, str]:
    assert record is not None
    assert record.plan is not None, record
    return str(record.plan.recipient.member), str(record.plan.donor.member)


def said(view: JobView, state: str = "verified", **changes: object) -> JobView:
    """The recipient tells how far it got."""
    assert view.drill is not None
    assert view.drill.plan is not None
    known: dict[str, object] = {"heal": view.drill.name, "attempt": 1, "state": state, "donor": "pod-1-0"}
    if state == "verified":
        known |= {"step": 10, "state_digest": digest_of(0, 10), "bytes": 1000, "total": 1000}
    facts = DrillFacts.model_validate(known | changes)
    return with_report(view, view.drill.plan.recipient.member, drill=facts)


def outcome(view: JobView, now: float = NOW) -> tuple[bool, str, str]:
    record = next_drill(view, now)
    assert record is not None
    assert not record.is_open
    return record.passed, record.reason, record.message


def test_a_job_in_which_nobody_asks_is_left_alone():
    assert next_drill(a_drilling_job(), NOW) is None
    assert wakes_at(a_drilling_job(), NOW) is None


def test_a_request_is_taken_up_at_once_and_only_once():
    view = begun()
    assert pair_of(view.drill) == ("0/0", "1/0")
    assert (view.drill.request, view.drill.reason) == ("one", "Drilling")
    assert view.drill.message == "0/0 is given step 10 by 1/0, and keeps nothing of it"
    assert view.drill.plan.identity.state_digest == digest_of(0, 10)
    over = drilling(said(view))
    assert next_drill(over, NOW + 1000) is None
    assert pair_of(next_drill(asking(over, "two"), NOW)) == ("1/0", "2/0")


def test_one_drill_at_a_time():
    assert next_drill(asking(begun(), "two"), NOW + 1) is None


def test_every_pair_of_a_coordinate_has_its_turn_before_the_first_has_its_second():
    view, seen = a_drilling_job(3, 2), []
    for number in range(13):
        view = drilling(asking(view, f"request {number}"))
        seen.append(pair_of(view.drill))
        view = drilling(said(view, state_digest=digest_of(view.drill.plan.donor.member.coordinate, 10)))
    pairs = {
        (f"{taker}/{rank}", f"{giver}/{rank}")
        for rank in range(2)
        for taker in range(3)
        for giver in range(3)
        if taker != giver
    }
    assert set(seen[:12]) == pairs
    assert seen[12] == seen[0]


def test_the_policys_schedule_begins_one_after_the_other():
    view = a_drilling_job(drill_every=200)
    assert wakes_at(view, NOW) == BEGAN + 200
    assert next_drill(view, BEGAN + 199) is None
    late = BEGAN + 200
    for member in view.policy.members():
        view = with_heard(view, member, at=late)
    view = drilling(view, late)
    assert (view.drill.request, view.drill.began_at) == ("", late)
    assert wakes_at(view, late) == late + view.drill.plan.deadline + SPARE_SECONDS
    view = drilling(said(view), late + 5)
    assert wakes_at(view, late + 5) == late + 205


def test_a_schedule_waits_for_everyone_to_train_and_asks_for_no_look_meanwhile():
    view = with_trainer(a_drilling_job(drill_every=60), RECIPIENT, state="starting")
    assert next_drill(view, NOW) is None
    assert wakes_at(view, NOW) is None


def test_a_schedule_sleeps_between_epochs():
    assert wakes_at(ended(a_drilling_job(drill_every=60), "1/0"), NOW) is None


def test_a_scheduled_drill_does_not_take_up_a_request_again():
    over = drilling(said(begun(a_drilling_job(drill_every=60))))
    later = NOW + 60
    for member in over.policy.members():
        over = with_heard(over, member, at=later)
    again = next_drill(over, later)
    assert again is not None
    assert again.request == "one"
    assert next_drill(over.model_copy(update={"drill": again}), later) is None


NO_PAIR = "no member can be given a state by another replica now: "
REFUSALS: dict[str, tuple[Callable[[JobView], JobView], str, str]] = {
    "no epoch is open": (
        lambda view: ended(view, "1/0", message="the pod of 1/0 is gone"),
        "NotTraining",
        "a drill needs everyone at work: the pod of 1/0 is gone",
    ),
    "a trainer is loading": (
        lambda view: with_trainer(view, DONOR, state="starting"),
        "NotTraining",
        "a drill needs everyone at work: the trainer of 1/0 is starting",
    ),
    "a member is lost": (
        lambda view: with_crash(view, DONOR),
        "NotTraining",
        "a drill needs everyone at work: the trainer of 1/0 ended: signal 9",
    ),
    "a trainer stands still for a moment": (
        lambda view: with_heard(with_trainer(view, DONOR, state="stopped"), DONOR, trainer_since=NOW),
        "NotTraining",
        "a drill needs everyone at work: the trainer of 1/0 stands still",
    ),
    "an agent is silent": (
        lambda view: with_heard(view, DONOR, at=NOW - 7),
        "NotTraining",
        "a drill needs everyone at work: the agent of 1/0 was last heard 7.0 s ago",
    ),
    "an agent was never heard": (
        lambda view: view.model_copy(update={"heard": view.heard[:1] + view.heard[2:]}),
        "NotTraining",
        "a drill needs everyone at work: the agent of 1/0 has not reported to this operator yet",
    ),
    "there is one replica": (
        lambda view: with_policy(view, replicas=1),
        "NoPair",
        NO_PAIR + "there are no two replicas, but 1",
    ),
    "every agent is older": (
        lambda view: _each(view, drills=False),
        "NoPair",
        NO_PAIR + "the agent of 0/0 is of an older build, which knows no drills",
    ),
    "nobody has a certificate": (
        lambda view: _each(view, flaws=(Flaw(reason="NoCertificate"),)),
        "NoPair",
        NO_PAIR + "0/0 waits for its agent's certificate: without one nothing is sent to it",
    ),
    "nobody holds anything": (
        lambda view: _each(view, generations=()),
        "NoPair",
        NO_PAIR + "1/0 holds no state that its agent has read through",
    ),
    "nothing was read through": (
        lambda view: _each(view, generations=(a_generation(RECIPIENT, 10, state_digest=None),)),
        "NoPair",
        NO_PAIR + "1/0 holds no state that its agent has read through",
    ),
}


def _each(view: JobView, **changes: object) -> JobView:
    for member in view.policy.members():
        view = with_report(view, member, **changes)
    return view


@pytest.mark.parametrize("why", REFUSALS)
def test_a_request_that_cannot_be_met_is_refused_with_its_reason(why: str):
    change, reason, message = REFUSALS[why]
    view = asking(change(a_drilling_job()))
    assert outcome(view) == (False, reason, message)
    refused = drilling(view)
    assert refused.drill.plan is None
    assert next_drill(refused, NOW) is None, "it is refused once"


def test_a_heal_comes_first():
    view = with_new_pod(a_drilling_job(), DONOR)
    healing, _ = decided(view)
    assert any(heal.is_open for heal in healing.heals)
    assert outcome(asking(healing))[:2] == (False, "HealUnderWay")


def test_a_heal_that_is_over_hinders_nothing():
    healing, _ = decided(with_new_pod(a_drilling_job(), DONOR))
    over = tuple(heal.model_copy(update={"concluded_at": NOW}) for heal in healing.heals)
    assert over
    assert begun(a_drilling_job().model_copy(update={"heals": over}))


def test_a_request_before_the_first_epoch_is_refused():
    view = _each(a_new_job(), drills=True)
    assert outcome(asking(view)) == (
        False,
        "NotTraining",
        "a drill needs everyone at work: the first epoch has not happened yet",
    )


def test_a_request_in_an_epoch_that_began_before_its_policy_is_refused_until_the_next_one():
    view = a_drilling_job().model_copy(update={"epoch": EpochRecord()})
    passed, reason, message = outcome(asking(view))
    assert (passed, reason) == (False, "NotTraining")
    assert "epoch 1 is under way, and began before this CheckpointHeal was there" in message


def test_a_leader_that_has_heard_nobody_yet_waits_before_it_says_no():
    view = asking(a_drilling_job().model_copy(update={"leader_since": NOW, "heard": ()}))
    assert next_drill(view, NOW) is None
    assert outcome(view, NOW + view.policy.report_deadline)[1] == "NotTraining"


def test_a_pair_that_cannot_is_passed_over_and_the_turn_goes_on_behind_it():
    view = with_report(a_drilling_job(4), DONOR, drills=False)
    view = drilling(asking(view))
    assert pair_of(view.drill) == ("2/0", "3/0")
    assert pair_of(next_drill(asking(drilling(said(view)), "two"), NOW)) == ("3/0", "0/0")


def test_a_pod_that_is_being_deleted_takes_no_part():
    view = with_pod(a_drilling_job(), DONOR, terminating=True)
    assert pair_of(drilling(asking(view)).drill) == ("2/0", "0/0")


def test_two_models_are_not_drilled_with_each_other():
    other, shared = a_generation(DONOR, 10, schema_digest="6" * 32), a_generation(DONOR, 9)
    view = with_report(a_drilling_job(2), DONOR, generations=(other, shared))
    assert outcome(asking(view))[2].endswith("1/0 holds step 10 with another schema than most: it runs another model")


def test_replicas_that_differ_by_themselves_are_not_drilled_for_no_heal_would_work():
    own = (a_generation(DONOR, 10, state_digest="e" * 32),)
    view = with_report(a_drilling_job(2), DONOR, generations=own)
    assert outcome(asking(view))[:2] == (False, "NoPair")
    assert "differ by themselves" in outcome(asking(view))[2]


def test_a_search_in_a_large_job_ends_and_goes_on_elsewhere_the_next_time():
    view = drilling(asking(_each(a_job(20), drills=False)))
    assert view.drill.reason == "NoPair"
    assert view.drill.turn == TRIED_PAIRS


def test_over_gloo_no_certificate_is_needed():
    view = _each(a_drilling_job(channel="gloo"), flaws=(Flaw(reason="NoCertificate"),))
    assert begun(view).drill.plan.channel == "gloo"


def order_of(view: JobView, member: MemberId) -> Drill | None:
    return orders(view)[member].drill


def test_recipient_and_donor_are_ordered_the_same_and_nobody_else_anything():
    view = begun(a_drilling_job(bytes_per_second=5000))
    order = order_of(view, RECIPIENT)
    assert order is not None
    assert order == order_of(view, DONOR)
    assert order_of(view, m("2/0")) is None
    assert (order.heal, order.recipient.member, order.donors[0].member) == (view.drill.name, RECIPIENT, DONOR)
    assert (order.step, order.state_digest, order.bytes_per_second) == (10, digest_of(0, 10), 5000)
    assert order.deadline == view.policy.patience(1000)


def test_nobody_is_ordered_a_drill_that_is_over_or_was_refused():
    for view in (drilling(said(begun())), drilling(asking(ended(a_drilling_job(), "1/0")))):
        assert [each.drill for each in orders(view).values()] == [None, None, None]


HINDRANCES: dict[str, Callable[[JobView], JobView]] = {
    "the epoch is over": lambda view: ended(view, "2/0", message="the pod of 2/0 is gone"),
    "a trainer ended": lambda view: with_crash(view, m("2/0")),
    "the donor is deleted": lambda view: with_pod(view, DONOR, terminating=True),
    "the recipient was replaced": lambda view: with_new_pod(view, RECIPIENT),
}


@pytest.mark.parametrize("why", HINDRANCES)
def test_a_drill_gives_way_in_the_orders_before_anything_is_written(why: str):
    view = HINDRANCES[why](begun())
    assert [each.drill for each in orders(view).values()] == [None, None, None]
    passed, reason, message = outcome(view)
    assert (passed, reason) == (False, "GaveWay")
    assert message.startswith("the drill was ended for what matters more: ")


def test_a_verified_state_is_a_drill_that_passed():
    view = said(begun(), hold_seconds=1, transfer_seconds=2, verify_seconds=3)
    assert outcome(view) == (True, "DrillPassed", PASSED)
    facts = next_drill(view, NOW).transfer
    assert (facts.bytes, facts.hold_seconds, facts.transfer_seconds, facts.verify_seconds) == (1000, 1, 2, 3)


def test_a_drill_that_passed_stays_so_though_a_heal_begins_before_it_is_written_down():
    assert outcome(ended(said(begun()), "2/0"))[1] == "DrillPassed"


def test_a_drill_ends_though_the_job_was_made_smaller_and_its_donor_has_no_place_any_more():
    verified = said(begun(drilling_with_the_last()))
    smaller = with_policy(without_pod(verified, m("2/0")), replicas=2)
    epoch = smaller.epoch.model_copy(update={"members": smaller.epoch.members[:2]})
    smaller = smaller.model_copy(update={"epoch": epoch})
    assert m("2/0") not in at(smaller, NOW).places
    assert outcome(smaller)[1] == "DrillPassed"
    assert outcome(with_report(smaller, RECIPIENT, drill=None))[1] == "GaveWay"
    assert [each.drill for each in orders(smaller).values()] == [None, None]


def drilling_with_the_last() -> JobView:
    """0/0 cannot be given anything by 1/0, whose agent is older."""
    view = with_report(a_drilling_job(), DONOR, drills=False)
    refused = DrillRecord(name="before", turn=3, began_at=NOW, ended_at=NOW, reason="NoPair", message="")
    return view.model_copy(update={"drill": refused})


def test_a_state_of_a_later_step_is_as_good():
    assert outcome(said(begun(), step=12, state_digest="c" * 32))[1] == "DrillPassed"


def test_a_state_that_is_not_what_others_hold_for_that_step_is_a_fault_that_a_drill_finds():
    assert outcome(said(begun(), state_digest="c" * 32)) == (
        False,
        "DigestDisagrees",
        "1/0 holds other bytes for step 10 than its peers: its memory is wrong",
    )


def damaged(view: JobView, *members: MemberId) -> JobView:
    """Those hold each their own bytes of the step that crosses, and all the same ones of the step before."""
    for each in members:
        wrong = a_generation(each, 10, state_digest=digest_of(0, 10, f"of {each}"))
        view = with_report(view, each, generations=(wrong, a_generation(each, 9)))
    return view


@pytest.mark.parametrize("odd", [RECIPIENT, m("2/0")])
def test_a_donor_that_holds_what_most_hold_is_not_blamed_for_who_does_not(odd: MemberId):
    assert outcome(said(damaged(begun(), odd))) == (
        True,
        "DrillPassed",
        f"{PASSED}; {odd} holds other bytes for step 10 than its peers: its memory is wrong",
    )


def test_who_trains_by_another_schema_is_not_said_to_have_wrong_memory():
    view = with_report(begun(), m("2/0"), generations=(a_generation(m("2/0"), 10, schema_digest="6" * 32),))
    assert outcome(said(view)) == (True, "DrillPassed", PASSED)


@pytest.mark.parametrize("odd", [(RECIPIENT,), (RECIPIENT, m("2/0"))])
def test_where_nothing_tells_who_is_right_nobody_is_blamed(odd: tuple[MemberId, ...]):
    view = damaged(begun(a_drilling_job(len(odd) + 1)), *odd)
    assert outcome(said(view)) == (
        False,
        "NoMajority",
        "1/0 and its peers hold different bytes for step 10 or the one beside it: nothing tells who is right",
    )


def test_a_lost_peer_bears_witness_for_a_drill_as_for_a_heal():
    last = Remembered(
        member=RECIPIENT, pod_uid="lost before", build="torch", identity=a_generation(RECIPIENT, 10).identity
    )
    view = damaged(begun(a_drilling_job(2)), RECIPIENT).model_copy(update={"remembered": (last,)})
    assert outcome(said(view))[:2] == (True, "DrillPassed")
    assert outcome(said(damaged(view, DONOR), state_digest=digest_of(0, 10, "of 1/0")))[1] == "NoMajority"


def test_a_donor_that_is_ahead_is_held_against_the_step_beside_it():
    view = damaged(begun(a_drilling_job(2)), RECIPIENT)
    ahead = (a_generation(DONOR, 11), a_generation(DONOR, 10))
    view = said(with_report(view, DONOR, generations=ahead), step=11, state_digest=digest_of(0, 11))
    assert outcome(view)[:2] == (False, "NoMajority"), "as a heal would find"


def test_a_recipient_that_does_not_say_what_arrived_is_believed():
    assert outcome(said(begun(), step=None, state_digest=None))[1] == "DrillPassed"


def test_other_builds_may_compute_other_bytes():
    view = begun()
    for member in (RECIPIENT, m("2/0")):
        view = with_report(view, member, build="another torch")
    assert outcome(said(view, state_digest="c" * 32))[1] == "DrillPassed"


def test_another_coordinate_says_nothing():
    view = begun(a_drilling_job(2, 2))
    for member in view.policy.members():
        if member.coordinate == 0 and member != DONOR:
            view = with_report(view, member, generations=())
    assert outcome(said(view, state_digest="c" * 32))[1] == "DrillPassed"


def test_what_others_have_not_read_through_says_nothing():
    view = begun(a_drilling_job(2))
    view = with_report(view, RECIPIENT, generations=(a_generation(RECIPIENT, 10, state_digest=None),))
    assert outcome(said(view, state_digest="c" * 32))[1] == "DrillPassed"


def test_a_drill_that_failed_says_what_its_agent_says():
    view = said(begun(), "failed", reason="NoRoomForDrill", message="no memory")
    assert outcome(view) == (False, "NoRoomForDrill", "no memory")
    for no_word in ("", "two words", "dot.dot", "x" * 64, "Ärger"):
        assert outcome(said(begun(), "failed", reason=no_word))[1] == "TransferFailed"


def test_nothing_that_is_said_is_too_long_to_be_written_down():
    assert len(outcome(said(begun(), "failed", reason="PeerLost", message="x" * 5000))[2]) <= LONGEST
    assert len(outcome(asking(ended(a_drilling_job(), "1/0", message="x" * 5000)))[2]) == LONGEST


def test_a_drill_of_which_nothing_is_heard_ends_after_its_deadline():
    view = begun()
    end = NOW + view.drill.plan.deadline + SPARE_SECONDS
    for member in view.policy.members():
        view = with_heard(view, member, at=end)
    assert next_drill(view, end - 0.001) is None
    assert outcome(view, end)[:2] == (False, "DrillOverdue")


def test_the_word_of_an_earlier_drill_is_not_this_ones():
    view = said(begun(), heal="drill-before")
    assert next_drill(view, NOW) is None


def test_a_drill_that_is_asking_or_receiving_is_under_way():
    for state in ("asking", "receiving"):
        assert next_drill(said(begun(), state), NOW) is None


def test_the_next_drill_has_another_name():
    one = begun().drill
    two = next_drill(asking(drilling(said(begun())), "one again"), NOW)
    assert two is not None
    assert one.name != two.name


def test_a_heal_goes_the_same_way_with_a_drill_under_way():
    def healed(view: JobView) -> list[str]:
        view, decisions = decided(with_new_pod(view, DONOR))
        return [str(each) for each in decisions] + [str(decide(view, NOW + 5))]

    assert healed(begun()) == healed(a_drilling_job())
    assert report_of(begun(), RECIPIENT) == report_of(a_drilling_job(), RECIPIENT)


WHY = ("LayoutDiffers", "the job is not healed: pod pod-0-0 was made otherwise")


def test_what_is_asked_of_a_job_that_is_left_alone_is_refused_for_that_once():
    view = asking(a_drilling_job())
    record = drill_without(view, NOW, WHY)
    assert record is not None
    assert (record.request, record.reason, record.message) == ("one", *WHY)
    assert (record.began_at, record.ended_at, record.passed, record.plan) == (NOW, NOW, False, None)
    assert drill_without(view.model_copy(update={"drill": record}), NOW, WHY) is None
    assert drill_without(a_drilling_job(), NOW, WHY) is None


def test_a_drill_of_a_job_that_comes_to_be_left_alone_gives_way_to_that():
    view = begun()
    record = drill_without(view, NOW + 1, WHY)
    assert record is not None
    assert (record.request, record.reason, record.ended_at) == ("one", "GaveWay", NOW + 1)
    assert WHY[1] in record.message
    assert drill_without(view.model_copy(update={"drill": record}), NOW + 2, WHY) is None
