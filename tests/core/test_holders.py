"""Of all pods that claim a place one holds it, whoever asks."""

from itertools import permutations

from builders_api import a_policy
from builders_core import a_job, a_pod, m
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.core.facts import PodFacts
from checkpointheal_operator.core.holders import holders
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.orders import of_holders, orders
from checkpointheal_operator.plugin.standing import Job

MEMBER = m("1/0")
OLD = a_pod(MEMBER, uid="old", seen_since=1.0)
NEW = a_pod(MEMBER, uid="new", seen_since=2.0)
LEAVING = a_pod(MEMBER, uid="leaving", seen_since=3.0, terminating=True)


def holder(*pods: PodFacts) -> str:
    found = {holders(each)[MEMBER].uid for each in permutations(pods)}
    assert len(found) == 1, "the order of pods means nothing"
    return found.pop()


def test_the_newest_holds_it() -> None:
    assert holder(OLD, NEW) == "new"


def test_one_on_its_way_out_holds_it_only_while_nobody_else_claims_it() -> None:
    assert holder(OLD, NEW, LEAVING) == "new"
    assert holder(LEAVING) == "leaving"


def test_a_copy_that_somebody_made_to_look_into_a_pod_takes_no_place_from_it() -> None:
    made = OLD.but(is_made=True)
    assert holder(made, NEW) == "old"
    assert holder(made.but(terminating=True), NEW) == "new"
    assert holder(made, NEW.but(is_made=True)) == "new"


def test_a_place_that_nobody_claims_has_no_holder() -> None:
    assert holders((OLD,)).keys() == {MEMBER}


def test_it_is_the_one_that_the_operator_decides_about_and_gives_orders_to() -> None:
    view = a_job()
    view = view.but(pods=(*(each for each in view.pods if each.member != MEMBER), OLD, NEW, LEAVING))
    held = holders(view.pods)
    assert {member: pod.uid for member, pod in held.items()} == {
        member: place.pod.uid for member, place in at(view, 0.0).places.items() if place.pod
    }
    assert of_holders(view) == {held[member].uid: each for member, each in orders(view).items()}


def test_it_is_the_one_that_a_person_is_told_of() -> None:
    job = Job(CheckpointHeal.model_validate(a_policy()), heals=(), pods=(), facts=(OLD, NEW, LEAVING), name="demo")
    assert job.holder(MEMBER) == NEW
    assert job.holder(m("2/0")) is None
