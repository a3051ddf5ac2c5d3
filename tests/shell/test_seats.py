"""A job of two pods with two seats each, by the API's objects: its seats are healed one by one, its pods as a whole."""

import asyncio

import pytest

from builders_api import JOB, WHERE, a_policy
from builders_core import NOW, a_report, heard, m
from builders_seats import SEATS, Seated
from checkpointheal.contract.report import Flaw
from checkpointheal.contract.seats import pod_of, seat_uid
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.core.annotations import LOCAL_RANKS
from checkpointheal_operator.core.facts import Heard
from checkpointheal_operator.core.reasons import Cause, Rung
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, EVENTS, PODS
from checkpointheal_operator.shell.layouts import difference
from checkpointheal_operator.shell.look import Surroundings
from checkpointheal_operator.shell.mirror import Mirror
from checkpointheal_operator.shell.objects import JobObjects, known_pod
from checkpointheal_operator.shell.pod_events import Known, PodEvents
from checkpointheal_operator.shell.speakers import Speakers
from fake_cluster import FakeCluster


@pytest.fixture(params=[(4, 1), (2, 2), (1, 4)], ids=["each a replica", "whole replicas", "blocks of one replica"])
def job(request: pytest.FixtureRequest) -> Seated:
    found = Seated(*request.param)
    found.go_on()
    found.train_to(10)
    return found


def test_the_seats_are_the_members_and_name_their_pods(job: Seated) -> None:
    assert job.is_training
    assert [each.name for each in job.view.pods] == ["trainer-0/0", "trainer-0/1", "trainer-1/0", "trainer-1/1"]
    assert [each.member for each in job.view.pods] == list(job.policy.members())
    assert [each.uid for each in job.view.pods][2:] == ["uid-1-0", "uid-1-0.1"]


def test_a_trainer_that_is_killed_is_healed_alone(job: Seated) -> None:
    member = job.policy.members()[1]
    job.kill_trainer(member)
    job.go_on()
    assert job.is_training
    assert [(each.spec.recipient.member, each.spec.cause) for each in job.heals] == [(member, Cause.CRASHED)]


def test_a_pod_that_is_replaced_is_healed_in_both_its_seats_from_another_pod() -> None:
    job = Seated(4)
    job.go_on()
    job.train_to(10)
    job.lose_pod(1)
    job.go_on()
    assert job.is_training
    assert job.steps == {10}
    healed = job.by_cause(Cause.REPLACED)
    assert {str(each.spec.recipient.member) for each in healed} == {"2/0", "3/0"}
    assert {each.status.rung for each in healed} == {Rung.PEER}
    assert {each.spec.recipient.pod for each in healed} == {"trainer-1/0", "trainer-1/1"}
    donors = {each.spec.assignment.donors[0].pod_uid for each in healed if each.spec.assignment}
    assert {pod_of(each) for each in donors} == {"uid-0-0"}


def test_what_a_seat_lived_through_is_told_at_its_pod() -> None:
    job = Seated(4)
    job.go_on()
    job.train_to(10)
    job.lose_pod(1)
    job.go_on()
    told = {(each["involvedObject"]["name"], each["involvedObject"]["uid"]) for each in job.cluster.all(EVENTS)}
    assert told == {("trainer-1", "uid-1-1")}
    assert len(job.cluster.all(EVENTS)) == SEATS


def test_a_lost_pod_takes_a_replica_along_only_where_no_other_pod_holds_its_ranks() -> None:
    job = Seated(2, 2)
    job.go_on()
    job.train_to(10)
    job.lose_pod(0)
    job.go_on()
    assert (job.is_training, job.steps) == (True, {10})


def differs(pods: list[Json], *reports: Heard) -> str:
    objects = JobObjects(CheckpointHeal.model_validate(a_policy()), pods=tuple(map(known_pod, pods)))
    found = difference(objects, reports)
    return "" if found is None else found.told


def test_a_pod_whose_agents_were_made_for_another_number_of_seats_is_named() -> None:
    pod = Seated(4).pod_object(m("0/0"))
    said = [heard(a_report(m(f"{k}/0"), 10, pod_uid=seat_uid("uid-0-0", k), local_ranks=2)) for k in range(2)]
    assert differs([pod], *said) == ""
    pod["metadata"]["annotations"][LOCAL_RANKS] = "4"
    assert differs([pod], *said).startswith(f"pod trainer-0 was made with {LOCAL_RANKS} 2, and its annotations now")
    alone = heard(a_report(m("0/0"), 10, pod_uid="uid-0-0"))
    assert "was made with checkpointheal.dev/local-ranks 1" in differs([pod], alone)


def test_two_pods_of_different_numbers_of_seats_are_named() -> None:
    pods = [Seated(4).pod_object(m(each)) for each in ("0/0", "2/0")]
    pods[1]["metadata"]["annotations"][LOCAL_RANKS] = "4"
    assert differs(pods) == (
        f"pod trainer-1 was made with {LOCAL_RANKS} 4, and pod trainer-0 with 2: make all pods from one template"
    )


def test_a_seat_lives_where_its_pod_does() -> None:
    mirror = Mirror(lambda *_: None)
    mirror.put(FakeCluster().put(PODS, Seated(4).pod_object(m("2/0"))))
    speakers = Speakers(mirror)
    assert [speakers.namespace(each) for each in ("uid-1-0", "uid-1-0.1")] == [WHERE, WHERE]
    assert speakers.labels("uid-1-0.1")["app"] == JOB
    assert speakers.inside(WHERE) == ("uid-1-0", "uid-1-0.1")


def test_a_flaw_that_both_seats_of_a_pod_have_is_told_once_and_another_one_beside_it() -> None:
    cluster, mirrors = FakeCluster(), {kind: Mirror(lambda *_: None) for kind in (CHECKPOINTHEALS, PODS)}
    mirrors[CHECKPOINTHEALS].put(cluster.put(CHECKPOINTHEALS, a_policy()))
    mirrors[PODS].put(cluster.put(PODS, Seated(4).pod_object(m("0/0"))))
    small, damaged = Flaw(reason="ArenaDoesNotFit", message="too small"), Flaw(reason="SlotDamaged", message="slot 1")
    said = [
        heard(a_report(m(f"{k}/0"), 10, pod_uid=seat_uid("uid-0-0", k), local_ranks=2, flaws=(small, damaged)[: k + 1]))
        for k in reversed(range(2))
    ]
    events = PodEvents(Surroundings(cluster, lambda: NOW), mirrors, Known(lambda: said), lambda: 0.0)
    asyncio.run(events.look())
    told = sorted((each["reason"], each["message"].split(" is ")[0]) for each in cluster.all(EVENTS))
    assert [reason for reason, _ in told] == ["ArenaDoesNotFit", "SlotDamaged"]
    assert told[0][1] == "pod trainer-0/0"
    assert {each["involvedObject"]["uid"] for each in cluster.all(EVENTS)} == {"uid-0-0"}
