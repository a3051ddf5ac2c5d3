"""A drill on the API: asked for by an annotation, told in the status and by an Event, and in nobody's way."""

import asyncio
from collections.abc import Callable

import pytest

from builders_api import JOB, WHERE, a_policy
from builders_core import m
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.api.drill_record import drill_record, drill_status
from checkpointheal_operator.core.annotations import DRILL
from checkpointheal_operator.core.decisions import EndEpoch
from checkpointheal_operator.shell import look
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, EVENTS, HEALS, Conflict, Ref, Unreachable
from cluster_simulation import ClusterSimulation
from fake_cluster import Killed

POLICY = Ref(CHECKPOINTHEALS, WHERE, JOB)


def a_training_job(replicas: int = 3, ranks: int = 1, **spec: object) -> ClusterSimulation:
    job = ClusterSimulation(replicas, ranks, **spec)
    job.go_on()
    job.train_to(5)
    job.go_round()
    return job


def ask(job: ClusterSimulation, request: str) -> None:
    """As the plugin writes it."""
    metadata = job.cluster.objects[POLICY]["metadata"]
    metadata["annotations"] = metadata.get("annotations", {}) | {DRILL: request}


def status(job: ClusterSimulation) -> Json:
    found: Json = job.cluster.objects[POLICY]["status"]["drill"]
    return found


def drilled(job: ClusterSimulation, request: str = "one") -> Json:
    ask(job, request)
    for _ in range(8):
        job.now += 0.5
        job.go_round()
    return status(job)


def writes(job: ClusterSimulation) -> list[tuple[str, str]]:
    return list(job.cluster.calls)


def test_a_drill_is_asked_for_carried_out_and_told():
    job = a_training_job()
    before = writes(job)
    told = drilled(job)
    assert (told["request"], told["passed"], told["reason"]) == ("one", True, "DrillPassed")
    assert told["message"] == "0/0 was given step 5 by 1/0 and verified it: a heal would work"
    assert told["plan"]["recipient"] | {"pod": ""} == {"member": "0/0", "pod": "", "podUID": job.pods[m("0/0")].uid}
    assert (told["transfer"]["bytes"], told["transfer"]["step"]) == (1000, 5)
    assert told["endedAt"] >= told["beganAt"]
    changed = ("patch status of", "checkpointheals")
    assert writes(job)[len(before) :] == [changed, ("create", "events"), changed]
    assert job.cluster.all(HEALS) == []


def test_the_event_is_the_policys_and_says_how_it_went():
    job = a_training_job()
    drilled(job)
    (event,) = job.cluster.all(EVENTS)
    assert event["involvedObject"] == {
        "apiVersion": CHECKPOINTHEALS.api,
        "kind": "CheckpointHeal",
        "namespace": WHERE,
        "name": JOB,
        "uid": job.cluster.objects[POLICY]["metadata"]["uid"],
    }
    assert (event["type"], event["reason"], event["action"]) == ("Normal", "DrillPassed", "Drill")


def test_a_request_is_answered_once_and_the_next_one_by_another_pair():
    job = a_training_job()
    drilled(job)
    quiet = writes(job)
    job.go_on()
    assert writes(job) == quiet
    assert drilled(job, "two")["plan"]["recipient"]["member"] == "1/0"


def test_a_request_that_cannot_be_met_is_refused_by_name():
    job = ClusterSimulation(1, 1)
    job.go_on()
    job.train_to(5)
    job.go_round()
    told = drilled(job)
    assert (told["passed"], told["reason"]) == (False, "NoPair")
    assert "plan" not in told
    (event,) = job.cluster.all(EVENTS)
    assert event["type"] == "Warning"


def is_meant_otherwise(job: ClusterSimulation) -> None:
    job.cluster.objects[POLICY]["spec"]["layout"] = {"ranks": 1}


def is_another_ones(job: ClusterSimulation) -> None:
    job.cluster.put(CHECKPOINTHEALS, a_policy() | {"metadata": {"name": "an-elder", "namespace": WHERE}})


ASIDE = [(is_meant_otherwise, "LayoutDiffers"), (is_another_ones, "Conflicting")]


@pytest.mark.parametrize(("happens", "reason"), ASIDE)
def test_a_request_to_a_job_that_is_left_alone_is_refused_at_once_for_that(
    happens: Callable[[ClusterSimulation], None], reason: str
):
    job = a_training_job(2, 2)
    happens(job)
    job.look()
    ask(job, "one")
    job.look()
    told = status(job)
    assert (told["request"], told["passed"], told["reason"]) == ("one", False, reason)
    assert told["endedAt"] == told["beganAt"]
    assert told["message"] in {each["message"] for each in job.cluster.objects[POLICY]["status"]["conditions"]}
    (event,) = job.cluster.all(EVENTS)
    assert (event["type"], event["reason"]) == ("Warning", reason)
    quiet = writes(job)
    job.look()
    assert writes(job) == quiet


@pytest.mark.parametrize(("happens", "reason"), ASIDE)
def test_a_drill_of_a_job_that_comes_to_be_left_alone_gives_way_and_its_request_is_not_asked_again(
    happens: Callable[[ClusterSimulation], None], reason: str
):
    job = a_training_job(2, 2)
    job.drills_finish = False
    ask(job, "one")
    job.go_round()
    assert status(job)["reason"] == "Drilling"
    happens(job)
    for _ in range(2):
        job.look()
    assert (status(job)["request"], status(job)["reason"]) == ("one", "GaveWay"), reason
    assert status(job)["endedAt"]


def test_a_schedule_of_the_policy_needs_no_request():
    job = a_training_job(drill={"everySeconds": 60})
    assert "drill" not in job.cluster.objects[POLICY]["status"]
    job.now += 61
    for _ in range(4):
        job.go_round()
    assert (status(job)["passed"], status(job)["request"]) == (True, "")


def test_a_loss_ends_a_drill_in_the_same_look_and_is_healed_as_without_one():
    def healed(job: ClusterSimulation) -> list[str]:
        job.replace_pod(m("2/0"))
        made = [str(each) for each in job.look()]
        assert all(each.drill is None for each in job.ordered.values())
        job.go_on()
        assert job.is_training
        assert len(job.heals) == 1
        return made

    plain, with_drill = a_training_job(), a_training_job()
    with_drill.drills_finish = False
    ask(with_drill, "one")
    with_drill.go_round()
    assert [each.drill is not None for each in with_drill.ordered.values()] == [True, True, False]
    assert healed(with_drill) == healed(plain)
    assert (status(with_drill)["passed"], status(with_drill)["reason"]) == (False, "GaveWay")


def test_nothing_is_written_of_a_drill_in_a_look_that_decides_anything():
    job = a_training_job()
    ask(job, "one")
    job.replace_pod(m("2/0"))
    made = job.look()
    assert isinstance(made[0], EndEpoch)
    assert "drill" not in job.cluster.objects[POLICY]["status"]


@pytest.mark.parametrize("error", [Conflict("changed"), Unreachable("no answer")])
def test_a_write_of_a_drill_that_fails_fails_nothing_else_and_is_tried_again(error: Exception):
    job = a_training_job()
    ask(job, "one")
    first = len(job.cluster.calls)

    def fail(number: int) -> None:
        if number == first:
            raise error

    job.cluster.before = fail
    job.look()
    assert job.errors == []
    assert all(each.drill is None for each in job.ordered.values()), "nobody is ordered what does not stand there"
    job.go_on()
    assert status(job)["passed"]


def test_a_write_of_a_drill_that_takes_too_long_is_left(monkeypatch: pytest.MonkeyPatch):
    async def never(*_what: object, **_how: object) -> Json:
        await asyncio.Event().wait()
        raise AssertionError

    job = a_training_job()
    ask(job, "one")
    monkeypatch.setattr(look, "DRILL_SECONDS", 0.01)
    monkeypatch.setattr(job.cluster, "patch", never)
    job.look()
    assert job.errors == []
    assert all(each.drill is None for each in job.ordered.values())


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("write", range(3))
def test_an_operator_that_ends_at_any_write_leaves_a_drill_that_ends(when: str, write: int):
    job = a_training_job()
    first = len(job.cluster.calls)

    def end(number: int) -> None:
        if number == first + write:
            raise Killed

    setattr(job.cluster, when, end)
    told = drilled(job)
    assert told["endedAt"]
    assert (told["request"], told["reason"]) in (("one", "DrillPassed"), ("one", "GaveWay"))


def test_what_else_is_told_of_the_job_leaves_the_drill_as_it_was():
    job = a_training_job()
    told = drilled(job)
    job.replace_pod(m("2/0"))
    job.go_on()
    assert status(job) == told


def test_a_drill_comes_back_from_the_api_as_it_was_written():
    job = a_training_job()
    stands: list[Callable[[], object]] = [lambda: ask(job, "one"), lambda: None, lambda: None]
    job.drills_finish = False
    for act in stands:
        act()
        job.go_round()
        record = job.view.drill
        policy = CheckpointHeal.model_validate(job.cluster.objects[POLICY])
        assert drill_record(policy.status.drill) == record
        assert drill_status(record) == policy.status.drill
        job.drills_finish = True
    assert drill_status(None) is None
