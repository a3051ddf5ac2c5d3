"""What is no failure is healed all the same and counted as none, and what asks for nothing gets nothing."""

from builders_cluster import PATIENCE, Job, Json, apply, condition, healed_by, kubectl, until

SLOW = {"PACE": "1"}
"""A disturbance of several pods, one after another, is to end before the training does."""
HOLDS_A_STATE = 'ls "$CHECKPOINTHEAL_ARENA"/*.seal.json'
"""For a readiness probe: a roll-out then goes on to the next pod once this one could heal it."""


def ready_once_it_holds_a_state() -> Json:
    return {"readinessProbe": {"exec": {"command": ["sh", "-c", HOLDS_A_STATE]}, "periodSeconds": 1}}


def causes(job: Job) -> dict[str, list[str]]:
    """Of all heals that are over, by pod."""
    told: dict[str, list[str]] = {}
    for each in job.heals:
        told.setdefault(each["spec"]["recipient"]["pod"], []).append(each["spec"]["cause"])
    return told


def test_a_roll_out_carries_the_state_from_pod_to_pod(namespace, same):
    job = Job(namespace, environment=SLOW, container=ready_once_it_holds_a_state()).start()
    job.until_step(8)
    before = [job.uid(rank) for rank in range(3)]
    kubectl("rollout", "restart", "-n", namespace, "statefulset/trainer")
    kubectl(
        "rollout", "status", "-n", namespace, "statefulset/trainer", f"--timeout={PATIENCE:g}s", seconds=PATIENCE + 20
    )
    same(job)
    assert not set(before) & {job.uid(rank) for rank in range(3)}
    for each in job.heals:
        if each["spec"]["cause"] == "RolledOut":
            assert each["status"]["rung"] == "Peer", job.look()
    assert {pod: told for pod, told in causes(job).items() if "RolledOut" in told}.keys() == {
        job.pod_of(rank) for rank in range(3)
    }
    assert "Crashed" not in {cause for told in causes(job).values() for cause in told}, job.look()


def test_a_member_that_is_added_gets_the_state_and_the_others_keep_their_own(namespace, undisturbed):
    before = undisturbed(Job(namespace))
    job = Job(namespace, environment=SLOW, workload={"updateStrategy": {"type": "OnDelete"}}).start()
    job.until_step(8)
    for rank in range(3):
        job.run(rank, "sh", "-c", "printf 4 > /out/world")
    job.replicas = 4
    apply(namespace, job.statefulset())
    healed_by(job, 3, "Peer")
    (heal,) = job.heals_of(3)
    assert heal["spec"]["cause"] == "Added"
    prints = job.fingerprints()
    assert len({(each["model"], each["optimizer"]) for each in prints.values()}) == 1, job.look()
    for rank in range(3):
        assert [prints[rank][part] for part in ("data", "random")] == [
            before[rank][part] for part in ("data", "random")
        ], "a member that was there before has lost its own"
    begins = {rank: [each["step"] for each in job.events(rank) if each["event"] == "start"] for rank in range(4)}
    assert {each[-1] for each in begins.values()} == {heal["status"]["step"]}
    assert heal["status"]["step"] >= 8


def test_who_is_scaled_away_is_missed_and_gets_its_own_back(namespace, same):
    job = Job(namespace).start()
    job.until_step(8)
    job.scale(2)
    until(lambda: job.condition("Degraded")["reason"] == "MemberMissing", "2/0 is missed", seen=job.look)
    assert job.heals_of(2) == []
    job.scale(3)
    healed_by(job, 2, "Peer")
    same(job)


def test_pods_that_are_made_in_order_find_each_other_and_heal(namespace, same):
    job = Job(namespace, workload={"podManagementPolicy": "OrderedReady"}).start()
    job.until_step(8)
    job.delete_pods(0, 2)
    healed_by(job, 0, "Peer")
    healed_by(job, 2, "Peer")
    same(job)


def test_an_order_that_waits_for_itself_is_named(namespace):
    job = Job(
        namespace,
        container=ready_once_it_holds_a_state(),
        workload={"podManagementPolicy": "OrderedReady"},
        policy={"layout": {"replicas": 3}},
    ).start()
    held = until(
        lambda: condition({"status": job.policy_status()}, "Degraded")["reason"] == "HeldByOrderedReady",
        "it is said why nothing begins",
        seen=job.look,
    )
    assert held
    assert "podManagementPolicy: Parallel" in job.condition("Degraded")["message"]


def test_a_job_that_is_done_or_suspended_asks_for_nothing(namespace, same):
    job = Job(namespace, steps=12).start()
    same(job)
    until(lambda: job.condition("Done")["status"] == "True", "the job is done", seen=job.look)
    epoch = job.policy_status()["epoch"]["number"]
    job.scale(0)
    until(lambda: not any(job.uid(rank) for rank in range(3)), "no pod is left", seen=job.look)
    assert (job.heals, job.policy_status()["epoch"]["number"]) == ([], epoch)
    assert job.condition("Done")["status"] == "True"
