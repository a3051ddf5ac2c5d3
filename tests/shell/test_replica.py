"""The operator's process heals a job: real HTTP to the API server, to kopf's eyes, and from the agents."""

from collections.abc import Iterator

import pytest

from builders_core import m
from checkpointheal.contract.gateway import Orders
from checkpointheal_operator.gateway import app
from checkpointheal_operator.shell import our_kinds, replica
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS
from replicas import POLICY, HttpSimulation, Stage


@pytest.fixture(autouse=True)
def _short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "POLL_SECONDS", 0.1)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as found:
        yield found


def trained(job: HttpSimulation, step: int = 5) -> None:
    job.go_until(lambda: job.is_training)
    job.train_to(step)


def assert_healed(job: HttpSimulation) -> None:
    assert job.steps == {5}
    verdicts = [next(c for c in heal.status.conditions if c.type == "Healed") for heal in job.heals]
    assert {(each.status, each.reason) for each in verdicts} == {("True", "Healed")}


def test_a_replaced_pod_is_healed(stage):
    job = HttpSimulation(stage)
    trained(job)
    job.replace_pod(m("1/0"))
    job.go_until(job.is_settled)
    assert_healed(job)
    assert [each.spec.recipient.pod for each in job.heals if each.spec.assignment] == [job.pods[m("1/0")].name]


def test_a_leader_that_ends_in_mid_heal_is_followed_by_another_that_finishes_it(stage):
    job = HttpSimulation(stage)
    follower = stage.start("operator-1")
    trained(job)
    job.transfers_finish = False
    job.replace_pod(m("1/0"))
    job.go_until(lambda: any(pod.agent and pod.agent.fetching for pod in job.pods.values()))
    stage.stop("operator-0")
    job.replica, job.transfers_finish = follower, True
    job.go_until(job.is_settled)
    assert_healed(job)
    healed = [each for each in job.heals if each.spec.assignment]
    assert [each.spec.assignment.attempt for each in healed] == [healed[0].spec.assignment.attempt]


def test_agents_reach_the_leader_through_a_follower(stage):
    job = HttpSimulation(stage)
    leader, job.replica = job.replica, stage.start("operator-1")
    trained(job)
    assert leader.operator is not None
    assert job.replica.operator is None


def test_nobody_speaks_for_another_pod_and_a_stranger_for_none(stage):
    job = HttpSimulation(stage)
    trained(job)
    mine, other = (job.pods[m(each)] for each in ("0/0", "1/0"))
    job.refused.clear()
    report = other.agent.report().model_dump_json()
    for token in (mine.uid, "a stranger's"):
        assert job.exchange(token, "POST", "/v1/report", report) is None
    assert job.refused == [403, 401]


def test_a_pod_whose_policy_is_gone_is_told_so(stage):
    job = HttpSimulation(stage)
    trained(job)
    stage.call(lambda: stage.cluster.remove(POLICY))
    job.go_until(lambda: all(each == Orders(revision=1, withdrawn=True) for each in job.ordered.values()))


def test_a_policy_that_comes_after_its_pods_is_soon_enough(stage):
    job = HttpSimulation(stage)
    stage.call(lambda: stage.cluster.remove(POLICY))
    job.go_until(lambda: len(job.ordered) == 3 and all(each.withdrawn for each in job.ordered.values()))
    job.apply_policy()
    trained(job)


def test_a_stream_of_kopfs_that_breaks_stops_no_healing(stage, monkeypatch):
    monkeypatch.setattr(our_kinds, "SWEEP_EVERY", 0.2)
    monkeypatch.setattr(our_kinds, "AGAIN_AFTER", 0.1)
    stage.api.faults[CHECKPOINTHEALS.plural].append("error")
    job = HttpSimulation(stage)
    trained(job)
    job.stage.until(lambda: not stage.api.faults[CHECKPOINTHEALS.plural])
    stage.call(lambda: stage.cluster.remove(POLICY))
    job.go_until(lambda: all(each.withdrawn for each in job.ordered.values()))


def test_a_policy_that_was_deleted_while_kopf_did_not_hear_is_found_gone(stage, monkeypatch):
    monkeypatch.setattr(our_kinds, "SWEEP_EVERY", 0.2)
    stage.api.faults[CHECKPOINTHEALS.plural].append("stall")
    job = HttpSimulation(stage)
    trained(job)
    stage.call(lambda: stage.cluster.remove(POLICY))
    job.go_until(lambda: all(each.withdrawn for each in job.ordered.values()))


def test_probes_tell_health_and_readiness_of_leader_and_follower_alike(stage):
    stage.start("operator-0")
    stage.start("operator-1")
    for name in ("operator-0", "operator-1"):
        stage.until(lambda name=name: stage.probe(name, "/readyz") == 200)
        assert stage.probe(name, "/healthz") == 200


def test_a_replica_whose_api_is_silent_for_long_is_not_healthy(stage, monkeypatch):
    stage.start("operator-0")
    monkeypatch.setattr(replica, "STUCK_AFTER", -1.0)
    assert stage.probe("operator-0", "/healthz") == 503
