"""A member that goes on with an earlier private part, over the API: wherever it is told, it is told what it is not."""

from builders_api import JOB, WHERE
from builders_core import m
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.plugin.heal_words import outcome, summary
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, EVENTS
from cluster_simulation import ClusterSimulation

LOST = m("1/0")


def lost_before_commit(behind: str) -> ClusterSimulation:
    """Nothing is copied, and a member is lost at step 5, once its peers have made the update to step 6."""
    job = ClusterSimulation(3, 1, privateState={"behind": behind})
    job.survive(on_demand=True)
    job.go_on()
    job.train_to(5)
    job.lose_before_commit(LOST)
    job.go_on()
    return job


def policy_of(job: ClusterSimulation) -> CheckpointHeal:
    (policy,) = (each for each in job.cluster.all(CHECKPOINTHEALS))
    assert (policy["metadata"]["namespace"], policy["metadata"]["name"]) == (WHERE, JOB)
    return CheckpointHeal.model_validate(policy)


def test_a_policy_that_says_nothing_refuses_it_as_ever():
    job = lost_before_commit("Refuse")
    assert (job.steps, policy_of(job).status.epoch.reason) == ({0}, "PrivateStateLost")


def test_the_job_says_so_in_its_epoch_and_in_a_condition():
    job = lost_before_commit("Allow")
    assert job.is_training
    assert job.steps == {6}
    status = policy_of(job).status
    assert status.epoch.begin_reason == "PrivateStateBehind"
    assert {str(each.member): each.private_step for each in status.epoch.members} == {
        "0/0": None,
        "1/0": 5,
        "2/0": None,
    }
    (training,) = (each for each in status.conditions if each.type == "Training")
    assert (training.status, training.reason) == ("True", "PrivateStateBehind")
    assert "step 6 goes on with an earlier private part of 1/0 at step 5" in training.message


def test_its_heal_says_so_in_its_status_its_verdict_and_an_event_of_its_pod():
    job = lost_before_commit("Allow")
    (heal,) = job.heals
    assert (heal.status.step, heal.status.private_step, heal.status.rung) == (6, 5, "Peer")
    (healed,) = (each for each in heal.status.conditions if each.type == "Healed")
    assert (healed.status, healed.reason) == ("True", "PrivateStateBehind")
    assert "restored, and not as if nothing had been" in healed.message
    (event,) = job.cluster.all(EVENTS)
    assert (event["type"], event["reason"]) == ("Warning", "PrivateStateBehind")
    assert event["involvedObject"]["uid"] == job.pods[LOST].uid
    assert outcome(heal) == "healed"
    assert ", with its private part of step 5" in summary(heal, job.now)


def test_an_operator_that_starts_again_in_between_orders_the_same_part():
    job = lost_before_commit("Allow")
    job.restart_operator()
    job.go_on()
    assert job.ordered[job.pods[LOST].uid].epoch.private_step == 5
    job.kill_trainer(m("0/0"))
    job.go_on()
    assert job.is_training
    assert {each.private_step for each in policy_of(job).status.epoch.members} == {None, 5}
