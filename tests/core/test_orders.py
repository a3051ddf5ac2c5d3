"""What every agent should be doing, read off the records."""

import random

import pytest

from builders_core import (
    NOW,
    a_generation,
    a_job,
    a_new_job,
    a_pod,
    decided,
    ended,
    m,
    replaced,
    with_crash,
    with_followers,
    with_new_pod,
    with_pod,
    with_policy,
    with_received,
    with_report,
    with_trainer,
    without_pod,
)
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.orders import EpochOrder, Orders
from checkpointheal.contract.seats import pod_of, seat_uid
from checkpointheal_operator.core.decisions import Wait
from checkpointheal_operator.core.facts import Stranger
from checkpointheal_operator.core.findings import findings
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.orders import (
    KEPT_STEPS,
    of_rivals,
    of_strangers,
    of_supernumeraries,
    orders,
    withdrawn,
)
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.view import JobView

MEMBER = m("1/0")


def order_of(view: JobView, member: str = "1/0") -> Orders:
    return orders(view)[m(member)]


def epoch_of(view: JobView, member: str = "1/0") -> EpochOrder:
    order = order_of(view, member).epoch
    assert order is not None
    return order


def buddies(view: JobView, member: str) -> list[str]:
    return [str(each.member) for each in order_of(view, member).buddies]


def test_of_two_pods_that_both_claim_a_place_the_older_hears_why_it_waits_and_people_do_too():
    older = a_pod(MEMBER, uid="older", name="worker-0", seen_since=1.0)
    view = a_job()
    view = view.model_copy(update={"pods": (*view.pods, older)})
    newer = next(each for each in view.pods if each.member == MEMBER and each.uid != "older")
    told = f"pods worker-0 and {newer.name} both claim the place of 1/0: {newer.name} has it"
    assert {uid: (each.reason, each.message) for uid, each in of_rivals(view).items()} == {
        "older": ("PlaceTaken", told)
    }
    assert (Reason.PLACE_TAKEN, told) in [(each.reason, each.message) for each in findings(at(view, NOW))]


@pytest.mark.parametrize("change", [{"terminating": True}, {"finished": True}], ids=["on its way out", "at its end"])
def test_a_pod_that_makes_room_for_its_successor_is_no_rival(change):
    older = a_pod(MEMBER, uid="older", name="worker-0", seen_since=1.0).model_copy(update=change)
    view = a_job()
    view = view.model_copy(update={"pods": (*view.pods, older)})
    assert of_rivals(view) == {}
    assert Reason.PLACE_TAKEN not in [each.reason for each in findings(at(view, NOW))]


def test_a_pod_whose_place_the_layout_does_not_have_hears_why_it_waits_and_people_do_too():
    view = with_policy(a_job(), replicas=2)
    told = (
        "pod pod-2-0 claims the place of 2/0, and spec.layout.replicas is 2: raise it, or delete the pod, which nobody"
    )
    ((uid, order),) = of_supernumeraries(view).items()
    assert (uid, order.withdrawn, order.reason) == ("u2/0", True, "NoRoom")
    assert order.message.startswith(told)
    assert [(each.reason, each.message) for each in findings(at(view, NOW))] == [(Reason.NO_ROOM, order.message)]
    going = with_pod(view, m("2/0"), terminating=True)
    assert (of_supernumeraries(going), findings(at(going, NOW))) == ({}, ())


def test_a_pod_of_another_job_hears_why_it_waits_and_people_do_too():
    stranger = Stranger(pod=a_pod(MEMBER, uid="other", name="other-1/2"), job="second", ours="demo")
    view = a_job().model_copy(update={"strangers": (stranger,)})
    ((uid, order),) = of_strangers(view).items()
    assert (uid, order.withdrawn, order.reason) == ("other", True, "OtherJob")
    assert order.message.startswith(
        "pod other-1 is of job second, and the CheckpointHeal that selects it looks after job"
    )
    assert [(each.reason, each.message) for each in findings(at(view, NOW))] == [(Reason.OTHER_JOB, order.message)]


def test_before_the_first_epoch_there_is_none():
    assert order_of(a_new_job()).epoch is None


def host_of(view: JobView, member: str) -> str | None:
    host = epoch_of(view, member).host
    return None if host is None else str(host.member)


def test_the_members_of_an_epoch_meet_with_one_of_them_which_is_the_same_for_all():
    view = a_job(replicas=2, ranks=2)
    assert {host_of(view, str(member)) for member in view.policy.members()} == {"0/0"}
    assert epoch_of(view).members == 4


def test_they_meet_with_a_survivor_where_there_is_one():
    view, _ = decided(replaced("0/0"))
    heal = next(heal for heal in view.heals if heal.assignment)
    assert heal.assignment is not None
    view, _ = decided(with_received(view, heal.assignment))
    assert view.epoch.open
    assert {host_of(view, each) for each in ("0/0", "1/0", "2/0")} == {"1/0"}


def test_while_it_is_not_known_where_they_meet_nobody_is_sent_elsewhere():
    view = a_job()
    unheard = tuple(each for each in view.heard if each.report.member != m("0/0"))
    assert host_of(view.model_copy(update={"heard": unheard}), "1/0") is None
    assert host_of(with_new_pod(view, m("0/0")), "1/0") is None


def test_an_epoch_that_is_over_is_over_for_all():
    view = ended(a_job(), "1/0", reason="TrainerGone", message="why")
    assert {(epoch_of(view, e).over, epoch_of(view, e).reason, epoch_of(view, e).message) for e in ("0/0", "1/0")} == {
        (True, "TrainerGone", "why")
    }


@pytest.mark.parametrize(
    ("view", "over"),
    [
        pytest.param(a_job(), False, id="this very life"),
        pytest.param(
            with_trainer(a_job(), MEMBER, incarnation=None), False, id="an agent that has not heard its trainer yet"
        ),
        pytest.param(a_job().model_copy(update={"heard": ()}), False, id="an agent that this leader has not heard yet"),
        pytest.param(with_crash(a_job(), MEMBER), True, id="the next life of its trainer"),
        pytest.param(with_new_pod(a_job(), MEMBER), True, id="another pod"),
        pytest.param(without_pod(a_job(), MEMBER), True, id="no pod"),
    ],
)
def test_an_open_epoch_is_open_only_to_the_life_that_it_was_begun_with(view, over):
    assert epoch_of(view).over is over
    assert epoch_of(view).reason == ("NotAMember" if over else "FirstStart")


def test_a_member_that_the_job_grew_by_is_not_in_the_open_epoch():
    view = with_policy(a_job(replicas=2), replicas=3)
    assert epoch_of(with_new_pod(view, m("2/0")), "2/0").reason == "NotAMember"


def test_only_the_enrolled_trainer_may_take_the_answer():
    view, _ = decided(replaced())
    assert epoch_of(view).incarnation == "t1/0'"
    assert epoch_of(view).step == 10
    assert epoch_of(view).rung == "OwnMemory"


def test_an_epoch_that_the_records_never_saw_begin_names_no_rung():
    view = a_job()
    view = view.model_copy(update={"epoch": view.epoch.model_copy(update={"rung": None})})
    assert epoch_of(view).rung == ""


@pytest.mark.parametrize(
    ("layout", "member", "expected"),
    [
        pytest.param((4, 1), "1/0", ["2/0", "3/0"], id="the next replicas"),
        pytest.param((4, 1), "3/0", ["0/0", "1/0"], id="around the ring"),
        pytest.param((2, 2), "0/1", ["1/1", "1/0"], id="then another rank of another replica"),
        pytest.param((1, 3), "0/1", ["0/2", "0/0"], id="then the own replica"),
        pytest.param((1, 1), "0/0", [], id="nobody else is there"),
    ],
)
def test_buddies_are_the_next_replicas_of_the_same_rank(layout, member, expected):
    assert buddies(a_job(*layout), member) == expected


def test_a_buddy_whose_agent_nobody_has_heard_is_passed_over():
    view = a_job(4)
    view = view.model_copy(update={"heard": tuple(h for h in view.heard if h.report.member != m("2/0"))})
    assert buddies(view, "1/0") == ["3/0", "0/0"]
    assert buddies(with_policy(view, buddies=1), "1/0") == ["3/0"]


def test_a_buddy_is_named_by_the_very_start_of_its_agent_and_nobody_else_is():
    view = a_job()
    again = with_report(view, m("2/0"), agent="another start")
    assert {str(each.member): each.start for each in order_of(again, "0/0").buddies}["2/0"] == "another start"
    assert at(again, NOW).places[m("2/0")].peer == at(view, NOW).places[m("2/0")].peer


@pytest.mark.parametrize(("layout", "most"), [((5, 1), 2), ((4, 2), 2), ((3, 3), 2)])
def test_private_parts_are_spread_evenly(layout, most):
    view = a_job(*layout)
    kept = [buddy.member for each in orders(view).values() for buddy in each.buddies]
    assert max(kept.count(member) for member in view.policy.members()) == most


def test_every_step_that_an_arena_holds_is_kept_up_to_a_limit():
    view = with_report(a_job(), m("0/0"), generations=tuple(a_generation(m("0/0"), s) for s in range(20)))
    assert order_of(view).keep_steps == tuple(range(20 - KEPT_STEPS, 20))


def test_recipient_and_donors_hear_of_an_assignment():
    view, _ = decided(replaced("1/0", ranks=2))
    running = view.heals[0].assignment
    for member, each in orders(view).items():
        assert (each.assignment == running) is (member == MEMBER)
        assert (each.grants == (running,)) is (member in (m("0/0"), m("2/0")))


def test_who_is_not_named_as_a_donor_hears_nothing_of_it():
    view, _ = decided(replaced("1/0", replicas=12))
    granted = [str(member) for member, each in orders(view).items() if each.grants]
    assert granted == ["0/0", *(f"{replica}/0" for replica in range(2, 9))]


def test_a_pod_that_came_after_its_place_was_assigned_does_not_take_the_assignment():
    view, _ = decided(replaced("1/0"))
    pods = tuple(
        pod.model_copy(update={"uid": "w", "seen_since": 960.0}) if pod.uid == "v1/0" else pod for pod in view.pods
    )
    assert order_of(view.model_copy(update={"pods": pods})).assignment is None


def test_an_open_epoch_ends_every_transfer():
    view, _ = decided(replaced("1/0"))
    assert view.heals[0].assignment is not None
    view, _ = decided(with_received(view, view.heals[0].assignment))
    assert view.epoch.open
    assert all(each.assignment is None and each.grants == () for each in orders(view).values())


def test_a_member_hears_who_keeps_its_private_part_while_the_epoch_is_open():
    view, _ = decided(replaced("1/0"))
    assert view.heals[0].assignment is not None
    view, _ = decided(with_received(view, view.heals[0].assignment))
    assert [str(each.member) for each in order_of(view).private_from] == ["0/0", "2/0"]
    assert order_of(view, "0/0").private_from == ()
    assert order_of(ended(view)).private_from == ()
    gone = without_pod(view, m("0/0"))
    assert [str(each.member) for each in order_of(gone).private_from] == ["2/0"]


def test_a_member_whose_private_part_begins_is_told_so_alone():
    view = with_new_pod(with_policy(a_job(), replicas=4), m("3/0"))
    view, _ = decided(with_followers(ended(view)))
    assert view.heals[0].assignment is not None
    view, _ = decided(with_received(view, view.heals[0].assignment))
    told = {str(member): each.epoch.private_begins for member, each in orders(view).items() if each.epoch}
    assert told == {"0/0": False, "1/0": False, "2/0": False, "3/0": True}


@pytest.mark.parametrize(("restarts", "told"), [((), None), (("t1/0",), "t1/0"), (("t9",), None)])
def test_a_trainer_is_to_be_killed_only_by_its_name(restarts, told):
    assert order_of(ended(a_job(), "1/0", restarts=restarts)).restart_trainer == told


def test_the_same_orders_have_the_same_revision_and_others_another():
    view, _ = decided(replaced("1/0"))
    dice = random.Random(1)
    shuffled = view.model_copy(
        update={"heard": tuple(dice.sample(view.heard, 4)), "pods": tuple(dice.sample(view.pods, 3))}
    )
    assert orders(shuffled) == orders(view)
    assert order_of(ended(view, reason="other")).revision != order_of(view).revision


def test_every_place_has_orders():
    view = without_pod(a_job(2, 2), m("1/1"))
    assert list(orders(view)) == [MemberId(replica=r, rank=k) for r in range(2) for k in range(2)]


def test_who_is_left_alone_is_told_why_and_anew_where_the_reason_is_another():
    one, same, other = (withdrawn(Reason.LAYOUT_DIFFERS, what) for what in ("a", "a", "b"))
    assert (one.withdrawn, one.reason, one.message) == (True, "LayoutDiffers", "a")
    assert (one.epoch, one.assignment, one.grants, one.restart_trainer) == (None, None, (), None)
    assert one.revision == same.revision != other.revision


def test_where_the_policy_holds_every_trainer_is_to_wait_and_hears_why_once_it_is_held():
    assert not any(each.hold for each in orders(a_job()).values())
    view = with_policy(a_job(), fallback="Hold")
    assert {(each.hold, each.reason, each.message) for each in orders(view).values()} == {(True, "", "")}
    told = orders(view, Wait(until=None, reason=Reason.HELD, message="no arena survived"))
    assert {(each.hold, each.reason, each.message) for each in told.values()} == {(True, "Held", "no arena survived")}
    assert not any(each.withdrawn for each in told.values())
    revisions = {each.revision for found in (orders(a_job()), orders(view), told) for each in found.values()}
    assert len(revisions) == 3 * len(view.policy.members())


def test_who_is_left_alone_under_a_policy_that_holds_is_to_wait_too():
    assert withdrawn(Reason.LAYOUT_DIFFERS, "a", hold=True).hold
    assert not withdrawn(Reason.LAYOUT_DIFFERS, "a").hold


def in_pods(view: JobView, local_ranks: int) -> JobView:
    """The same job, so many seats to a pod, in order of members."""
    members, renamed = view.policy.members(), {}
    for place, member in enumerate(members):
        pod, local_rank = divmod(place, local_ranks)
        renamed[member] = {"name": f"pod-{pod}/{local_rank}", "uid": seat_uid(f"p{pod}", local_rank)}
    pods = tuple(each.model_copy(update=renamed[each.member]) for each in view.pods)
    heard = tuple(
        each.model_copy(
            update={"report": each.report.model_copy(update={"pod_uid": renamed[each.report.member]["uid"]})}
        )
        for each in view.heard
    )
    return view.model_copy(update={"pods": pods, "heard": heard})


def pods_of_buddies(view: JobView, member: str) -> list[str]:
    return [pod_of(each.pod_uid) for each in order_of(view, member).buddies]


@pytest.mark.parametrize("layout", [(8, 1), (4, 2), (2, 4)], ids=["each a replica", "blocks", "whole replicas"])
def test_buddies_of_a_seat_are_in_as_many_other_pods_as_there_are(layout: tuple[int, int]) -> None:
    view = in_pods(a_job(*layout), 2)
    for place, member in enumerate(view.policy.members()):
        found = pods_of_buddies(view, str(member))
        assert len(found) == len(set(found)) == 2
        assert f"p{place // 2}" not in found


def test_seats_of_one_other_pod_are_buddies_before_those_of_its_own() -> None:
    view = in_pods(a_job(4, 1, buddies=3), 2)
    assert buddies(view, "0/0") == ["2/0", "3/0", "1/0"]


def test_where_there_is_no_other_pod_its_own_seats_are_buddies() -> None:
    assert buddies(in_pods(a_job(4, 1), 4), "1/0") == ["2/0", "3/0"]


def test_a_seat_whose_pod_is_gone_has_the_nearest_buddies() -> None:
    view = in_pods(a_job(4, 1), 2)
    view = view.model_copy(update={"pods": tuple(each for each in view.pods if each.member != m("0/0"))})
    assert buddies(view, "0/0") == ["1/0", "2/0"]
